package action

import (
	"context"
	"fmt"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/ctl/doctor"
)

// CheckConfig loads the configuration at path and prints a summary. The error lists everything that is wrong; warnings go to Err, also
// about what the kernel of this machine lacks if it is a balancer.
func CheckConfig(ctx context.Context, s Streams, load config.Loader, path string) error {
	cfg, err := load(path)
	if err != nil {
		return err
	}
	for _, w := range cfg.Warnings() {
		fmt.Fprintf(s.Err, "warning: %s\n", w)
	}
	if m, err := doctor.ThisMachine(cfg, ""); err == nil {
		for _, w := range doctor.Unsupported(ctx, m) {
			fmt.Fprintf(s.Err, "warning: %s\n", w)
		}
	}
	_, err = fmt.Fprintf(s.Out, "%s is valid: %s\n", path, summary(cfg))
	return err
}

// summary counts the services and clusters of a configuration, and what they contain.
func summary(cfg *config.Config) string {
	checks, nodes, vips := 0, 0, 0
	for _, s := range cfg.Services {
		checks += len(s.Depends) + len(s.Metrics)
	}
	for _, c := range cfg.Clusters {
		nodes += len(c.Nodes)
		vips += len(c.VIPs)
	}
	services, clusters := count(len(cfg.Services), "service"), count(len(cfg.Clusters), "cluster")
	if len(cfg.Services) > 0 {
		services += " with " + count(checks, "check")
	}
	if len(cfg.Clusters) > 0 {
		clusters += " with " + count(vips, "virtual IP") + " and " + count(nodes, "node")
	}
	return services + ", " + clusters
}
