package reconcile

import (
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/cluster"
	"github.com/braintree/lb/balancer/kernel"
)

// network reports what keeps packets from clients, nodes or other balancers, as far as the machine's network and settings show it.
func (r *Reporter) network(now time.Time, m *cluster.Model, settings *kernel.Settings) {
	r.Problems(now, "network", m.Network().Problems())
	var wrong []api.Problem
	for _, s := range settings.Wrong() {
		if s.Blocks && s.IPVS() { // the model knows which clusters the others concern
			wrong = append(wrong, api.Problem{Kind: "setting", Subject: s.Name, Text: s.Name + " is not " + s.Value + ": " + s.Why,
				Fix: "`sysctl -w " + s.Name + "=" + s.Value + "`, also in /etc/sysctl.d, or balancer.set_sysctls = true"})
		}
	}
	r.Problems(now, "settings", wrong)
}
