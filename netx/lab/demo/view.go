package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/netx/lab/testbed"
)

// shareWindow is the time over which each node's share of the requests is measured.
const shareWindow = 4 * time.Second

// snapshot is the state that one frame shows.
type snapshot struct {
	at         time.Time
	elapsed    time.Duration
	counts     testbed.Counts
	balancerUp bool // its API responds
	nodes      []nodeRow
}

// nodeRow is a row of the table. Weight and connections come from the kernel, health and reason from the balancer.
type nodeRow struct {
	name        string
	inTable     bool
	health      string
	why         string
	weight      int
	connections int
	share       float64 // of the requests answered within shareWindow, 0–1
}

// weight returns a node's weight in the kernel, -1 if it is not in the table.
func (v snapshot) weight(node string) int {
	for _, n := range v.nodes {
		if n.name == node && n.inTable {
			return n.weight
		}
	}
	return -1
}

func (v snapshot) totalWeight() int {
	total := 0
	for _, n := range v.nodes {
		total += n.weight
	}
	return total
}

// sample is the request counts at a point in time.
type sample struct {
	at     time.Time
	counts testbed.Counts
}

// watch reads the kernel's table and shows it, frame by frame, until a condition holds. It fails if that takes longer than within.
// Without a condition it watches for the whole time.
func (p *runner) watch(ctx context.Context, within time.Duration, until func(snapshot) bool) error {
	deadline := time.Now().Add(within)
	tick := time.NewTicker(frameInterval)
	defer tick.Stop()
	for {
		if err := p.takeSnapshot(ctx); err != nil {
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
			return fmt.Errorf("not reached within %s", within)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// takeSnapshot replaces the last snapshot with the current state.
func (p *runner) takeSnapshot(ctx context.Context) error {
	services, err := p.table.Dump(ctx)
	if err != nil {
		return err
	}
	v := snapshot{at: time.Now(), counts: p.traffic.Counts()}
	v.elapsed = v.at.Sub(p.start)
	p.recent = append(p.recent, sample{v.at, v.counts})
	for len(p.recent) > 1 && v.at.Sub(p.recent[0].at) > shareWindow {
		p.recent = p.recent[1:]
	}
	recent := v.counts.Since(p.recent[0].counts)
	status, err := p.status(ctx)
	v.balancerUp = err == nil
	for _, app := range p.site.ConfiguredApps() {
		n := nodeRow{name: app.Host.Name(), health: "?", why: "the balancer is down; the kernel keeps the weight"}
		for _, s := range services {
			for _, d := range s.Destinations {
				if d.Address == app.Address {
					n.inTable, n.weight, n.connections = true, int(d.Weight), d.ActiveConns
				}
			}
		}
		if nodeStatus, ok := status[app.Address.String()]; ok {
			n.why = nodeStatus.Why
			if nodeStatus.Health != nil {
				n.health = strconv.Itoa(*nodeStatus.Health)
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

// status returns the balancer's view of the cluster's nodes, by address.
func (p *runner) status(ctx context.Context) (map[string]api.NodeStatus, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://balancer/cluster/webapp", nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	response, err := p.site.Balancer.Client().Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var cluster api.ClusterStatus
	if err := json.NewDecoder(response.Body).Decode(&cluster); err != nil {
		return nil, fmt.Errorf("read the balancer's response: %w", err)
	}
	nodes := map[string]api.NodeStatus{}
	for _, n := range cluster.Nodes {
		nodes[n.Address] = n
	}
	return nodes, nil
}
