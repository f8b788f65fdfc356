package ocf

import (
	"context"
	"errors"
	"io/fs"

	"github.com/braintree/lb/config/salvage"
)

// validate checks that the parameters are right on this machine.
func (r resource) validate(context.Context) int {
	cfg, err := r.Load(r.config)
	if err != nil {
		if _, salvageErr := salvage.Read(r.config); errors.Is(salvageErr, fs.ErrNotExist) {
			r.logf("%v", err)
			return errInstalled
		}
		r.logf("%s has errors:\n%v", r.config, err)
		return errArgs
	}
	if _, ok := cfg.Cluster(r.cluster); !ok {
		r.logf("%s has no cluster %q: add [clusters.%s] or correct the parameter cluster", r.config, r.cluster, r.cluster)
		return errArgs
	}
	if _, err := r.connect(salvage.Found{BalancerControl: cfg.Balancer.Control}); err != nil {
		r.logf("parameter control: %v", err)
		return errArgs
	}
	return success
}
