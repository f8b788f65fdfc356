package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/netx/lab/talk"
)

// shareWindow is the time over which a node's share of the requests is shown.
const shareWindow = 4 * time.Second

// view is what one frame shows.
type view struct {
	at       time.Time
	elapsed  time.Duration
	counts   talk.Counts
	balancer bool // it answers
	nodes    []nodeView
}

// nodeView is one row: weight and connections as the kernel has them, health and reason as the balancer says.
type nodeView struct {
	name        string
	inTable     bool
	health      string
	why         string
	weight      int
	connections int
	share       float64 // of the requests answered in the window, 0–1
}

// weight returns a node's weight in the kernel, -1 when it is not in the table.
func (v view) weight(node string) int {
	for _, n := range v.nodes {
		if n.name == node && n.inTable {
			return n.weight
		}
	}
	return -1
}

func (v view) total() int {
	total := 0
	for _, n := range v.nodes {
		total += n.weight
	}
	return total
}

// sample is the request counts at one time.
type sample struct {
	at     time.Time
	counts talk.Counts
}

// watch looks at the kernel's table frame by frame and shows it, until the condition holds; its absence is an error.
// With a nil condition it watches for the whole time.
func (p *play) watch(ctx context.Context, within time.Duration, until func(view) bool) error {
	deadline := time.Now().Add(within)
	tick := time.NewTicker(frame)
	defer tick.Stop()
	for {
		if err := p.look(ctx); err != nil {
			return err
		}
		p.screen.frame(p.last)
		if until != nil && until(p.last) {
			return nil
		}
		if time.Now().After(deadline) {
			if until == nil {
				return nil
			}
			return fmt.Errorf("not seen within %s", within)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// look makes the next view.
func (p *play) look(ctx context.Context) error {
	services, err := p.table.Dump(ctx)
	if err != nil {
		return err
	}
	v := view{at: time.Now(), counts: p.traffic.Counts()}
	v.elapsed = v.at.Sub(p.start)
	p.window = append(p.window, sample{v.at, v.counts})
	for len(p.window) > 1 && v.at.Sub(p.window[0].at) > shareWindow {
		p.window = p.window[1:]
	}
	recent := v.counts.Since(p.window[0].counts)
	status, err := p.status(ctx)
	v.balancer = err == nil
	for _, app := range p.scenario.Members() {
		n := nodeView{name: app.Host.Name(), health: "?", why: "the balancer is dead; the kernel keeps the weight"}
		for _, s := range services {
			for _, d := range s.Destinations {
				if d.Address == app.Address {
					n.inTable, n.weight, n.connections = true, int(d.Weight), d.ActiveConns
				}
			}
		}
		if said, ok := status[app.Address.String()]; ok {
			n.why = said.Why
			if said.Health != nil {
				n.health = strconv.Itoa(*said.Health)
			}
		}
		n.share = float64(recent.ByNode[n.name]) / float64(max(recent.Answered, 1))
		if n.inTable {
			p.weights[n.name] = append(p.weights[n.name], n.weight)
		}
		v.nodes = append(v.nodes, n)
	}
	p.last = v
	return nil
}

// status asks the balancer what it says of the cluster's nodes.
func (p *play) status(ctx context.Context) (map[string]api.NodeStatus, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://balancer/cluster/webapp", nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	answer, err := p.scenario.Balancer.Client().Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	var cluster api.ClusterStatus
	if err := json.NewDecoder(answer.Body).Decode(&cluster); err != nil {
		return nil, fmt.Errorf("read the balancer's answer: %w", err)
	}
	nodes := map[string]api.NodeStatus{}
	for _, n := range cluster.Nodes {
		nodes[n.Address] = n
	}
	return nodes, nil
}
