package cluster

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/braintree/lb/netx/vip"
)

// Holders are the balancers whose kernels have the address in the public network, sorted.
func (c *Cluster) Holders(ctx context.Context, address netip.Addr) []string {
	var names []string
	for _, b := range c.Balancers {
		host := b.Host()
		if host == nil {
			continue
		}
		var has bool
		err := host.Do(func() (err error) {
			has, err = vip.Has(ctx, publicInterface, netip.PrefixFrom(address, address.BitLen()))
			return err
		})
		if err == nil && has { // an error is that of a machine that has just lost its power
			names = append(names, b.Name)
		}
	}
	return names
}

// Weights are those in the balancer's kernel for webapp, written as "10.0.0.1:100 10.0.0.2:90 …"; "" when it has no such service, or no power.
func (b *Balancer) Weights(ctx context.Context) string {
	m := b.running()
	if m == nil {
		return ""
	}
	services, err := m.table.Dump(ctx)
	if err != nil {
		return "" // the machine has just lost its power
	}
	weights := map[string]int{}
	for _, s := range services {
		for _, d := range s.Destinations {
			if s.Mark == webappMark {
				weights[d.Address.String()] = int(d.Weight)
			}
		}
	}
	return formatWeights(weights)
}

// TrueWeights are those that the health of the app nodes makes.
func (c *Cluster) ExpectedWeights() string {
	weights := map[string]int{}
	for i, app := range c.Apps {
		weights[app.Address.String()] = NodeHealth(i + 1)
	}
	return formatWeights(weights)
}

func formatWeights(weights map[string]int) string {
	var list []string
	for _, address := range slices.Sorted(maps.Keys(weights)) {
		list = append(list, fmt.Sprintf("%s:%d", address, weights[address]))
	}
	return strings.Join(list, " ")
}

// Answering are the balancers that answer the client's ARP for an address, sorted. All have two seconds for it.
func (c *Cluster) ARPResponders(ctx context.Context, address netip.Addr) ([]string, error) {
	// -b: every question goes to all, else one that answered is asked alone from then on. The exit status is that of a machine that is absent.
	out, _ := c.Client.Run(ctx, "arping", "-b", "-w", "2", "-I", publicInterface, address.String())
	names := map[string]bool{}
	for _, b := range c.Balancers {
		host := b.Host()
		if host == nil {
			continue
		}
		mac, err := host.ReadFile("/sys/class/net/" + publicInterface + "/address")
		if err != nil {
			return nil, err
		}
		if strings.Contains(strings.ToLower(out), strings.TrimSpace(string(mac))) {
			names[b.Name] = true
		}
	}
	return slices.Sorted(maps.Keys(names)), nil
}
