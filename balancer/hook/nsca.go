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

// nsca sends the state of each running cluster to Nagios as a passive check, at its start, when it changes, and again after a reload, by
// the rules of big_brother 0.9.12. Where several changes wait, the last one is sent: Nagios wants the state, not the story.
type nsca struct {
	cfg  config.Hook
	last map[string]result // what Nagios is to know, by cluster
}

// result is a passive check's: Nagios's code, and what it shows.
type result struct {
	code int
	text string
}

// judge gives big_brother's verdict: half of the nodes down is critical, fewer are a warning.
func judge(t event.Tally) result {
	down := t.All - t.Up
	switch {
	case 2*down >= t.All:
		return result{2, "CRITICAL 50% of nodes are down"}
	case down > 0:
		return result{1, "WARNING a node is down"}
	}
	return result{0, "OK all nodes up"}
}

func (n *nsca) take(ctx context.Context, events []event.Event, deliver deliver) {
	due := map[string]int{} // clusters whose result is to be sent, and for how many events
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
			if r := judge(*e.Nodes); n.last[e.Cluster] != r {
				n.last[e.Cluster] = r
				due[e.Cluster]++
			}
		}
	}
	for _, cluster := range slices.Sorted(maps.Keys(due)) {
		r := n.last[cluster]
		if !deliver(ctx, due[cluster], func(ctx context.Context) error { return n.send(ctx, cluster, r) }) {
			n.last[cluster] = result{code: -1} // not known there: the next event sends it
		}
	}
}

func (n *nsca) send(ctx context.Context, cluster string, r result) error {
	fill := strings.NewReplacer("{cluster}", cluster)
	line := fmt.Sprintf("%s\t%s\t%d\t%s\n", fill.Replace(n.cfg.Host), fill.Replace(n.cfg.Service), r.code, r.text)
	o := program.Command{Argv: n.cfg.Argv, Stdin: line, ContextErr: ended(ctx)}.Run(ctx)
	if o.Err != nil {
		return fmt.Errorf("run %s for cluster %s: %w: it printed %q", n.cfg.Argv[0], cluster, o.Err, sanitize.Line(o.Message(), maxSaid))
	}
	return nil
}
