package hook

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/program"
	"github.com/braintree/lb/netx/sanitize"
)

// nsca sends the state of each running cluster to Nagios as a passive check result: when the cluster starts, when the state changes, and
// after a reload, as big_brother 0.9.12 does. Of several pending changes it sends the last: Nagios needs the state, not its history.
type nsca struct {
	cfg  config.Hook
	last map[string]result // the last result for Nagios, by cluster
}

// result is a passive check result.
type result struct {
	code int // 0 OK, 1 WARNING, 2 CRITICAL
	text string
}

// resultOf follows big_brother: half of the nodes down is critical, fewer are a warning.
func resultOf(t event.Tally) result {
	down := t.All - t.Up
	switch {
	case 2*down >= t.All:
		return result{2, "CRITICAL 50% of nodes are down"}
	case down > 0:
		return result{1, "WARNING a node is down"}
	}
	return result{0, "OK all nodes up"}
}

func (n *nsca) send(ctx context.Context, events []event.Event, deliver deliverFunc) {
	due := map[string]int{} // the number of events behind each cluster's pending result
	for _, e := range events {
		switch {
		case e.Kind == event.ConfigReloaded:
			for cluster := range n.last {
				due[cluster]++
			}
		case e.Kind == event.ClusterRenamed:
			if r, known := n.last[e.Old]; known {
				delete(n.last, e.Old)
				delete(due, e.Old)
				n.last[e.New] = r
				due[e.New]++
			}
		case e.Kind == event.ClusterStopped:
			delete(n.last, e.Cluster)
			delete(due, e.Cluster)
		case e.Nodes != nil && e.Nodes.Running && e.Nodes.All > 0:
			if r := resultOf(*e.Nodes); n.last[e.Cluster] != r {
				n.last[e.Cluster] = r
				due[e.Cluster]++
			}
		}
	}
	for _, cluster := range slices.Sorted(maps.Keys(due)) {
		r := n.last[cluster]
		if !deliver(ctx, due[cluster], func(ctx context.Context) error { return n.submit(ctx, cluster, r) }) {
			n.last[cluster] = result{code: -1} // Nagios does not have it: the next event sends it
		}
	}
}

// submit runs send_nsca.
func (n *nsca) submit(ctx context.Context, cluster string, r result) error {
	replacer := strings.NewReplacer("{cluster}", cluster)
	line := fmt.Sprintf("%s\t%s\t%d\t%s\n", replacer.Replace(n.cfg.Host), replacer.Replace(n.cfg.Service), r.code, r.text)
	o := program.Command{Argv: n.cfg.Argv, Stdin: line, ContextErr: contextCause(ctx)}.Run(ctx)
	if o.Err != nil {
		return fmt.Errorf("run %s for cluster %s: %w: output %q", n.cfg.Argv[0], cluster, o.Err, sanitize.Line(o.Message(), maxOutput))
	}
	return nil
}
