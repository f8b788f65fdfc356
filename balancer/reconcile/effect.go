package reconcile

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/cluster"
	"github.com/braintree/lb/balancer/kernel"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
)

// checkEffect reports the clusters whose packets lb's rules mark, and IPVS does not get.
func (r *Reconciler) checkEffect(ctx context.Context, now time.Time) {
	losses, fresh := r.Kernel.Effect.Look(ctx, now, r.Model.Interval())
	r.Report.KernelError("the counters of marked packets", nil, r.Kernel.Effect.Err())
	if !fresh {
		return
	}
	var found []api.Problem
	if len(losses) > 0 {
		rules := r.Model.Wanted().MarkRules()
		in, err := r.Kernel.Effect.Inspect(ctx, rules)
		for _, loss := range losses {
			c := r.clusterOf(loss.Mark)
			if c != nil && c.Running() && (err != nil || isHere(loss, rules, in)) {
				found = append(found, lossProblem(c.Name(), loss, in))
			}
		}
	}
	r.Report.Problems(now, "effect of the marking rules", found)
}

// clusterOf is the cluster of a mark; nil if there is none.
func (r *Reconciler) clusterOf(m ipvs.Mark) *cluster.Cluster {
	for _, c := range r.Model.Clusters() {
		if slices.Contains(c.Marks(), m) {
			return c
		}
	}
	return nil
}

// isHere reports whether this machine gets the packets of a loss at all. A router forwards those for a virtual IP on another balancer.
func isHere(loss kernel.Loss, rules []mark.Rule, in mark.Inspection) bool {
	return slices.ContainsFunc(rules, func(rule mark.Rule) bool {
		return rule.Mark == loss.Mark && rule.Protocol == loss.Protocol && rule.Port == loss.Port && in.Local[rule.Address]
	})
}

// lossProblem describes a loss and names what may cause it.
func lossProblem(name string, loss kernel.Loss, in mark.Inspection) api.Problem {
	packets := "packets"
	if loss.Protocol == "tcp" {
		packets = "packets that open a connection"
	}
	p := api.Problem{
		Kind: "marks_lost", Cluster: name, Subject: fmt.Sprintf("%s %d mark %d", loss.Protocol, loss.Port, loss.Mark),
		Text: fmt.Sprintf("of the last %d %s to port %d (%s), which lb's rules gave mark %d, %d arrived at IPVS with it, "+
			"so clients get no answer", loss.Marked, packets, loss.Port, loss.Protocol, loss.Mark, loss.Arrived),
		Fix: "look for what drops packets or changes their mark: `nft list ruleset`, `iptables-legacy-save`, `ip rule`, rp_filter",
	}
	if suspects := in.Suspects(); len(suspects) > 0 {
		var what, show []string
		for _, s := range suspects {
			what, show = append(what, s.What), append(show, s.Show)
		}
		slices.Sort(show)
		p.Text += "; " + strings.Join(what, "; ")
		p.Fix = "let it leave lb's marks and packets alone; " + strings.Join(slices.Compact(show), ", ") + " shows it"
	}
	return p
}
