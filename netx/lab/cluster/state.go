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

// Holders returns the balancers that have the address on their public interface, sorted.
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
		if err == nil && has { // fails if the machine has just lost its power
			names = append(names, b.Name)
		}
	}
	return names
}

// Weights returns the weights of webapp in the balancer's kernel as "10.0.0.1:100 10.0.0.2:90 …". It is "" without power or without the
// service.
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

// ExpectedWeights returns the weights that follow from the app nodes' health, in the form of Weights.
func (c *Cluster) ExpectedWeights() string {
	weights := map[string]int{}
	for i, app := range c.Apps {
		weights[app.Address.String()] = nodeHealth(i + 1)
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

// ARPResponders returns the balancers that respond to the client's ARP requests for an address within two seconds, sorted.
func (c *Cluster) ARPResponders(ctx context.Context, address netip.Addr) ([]string, error) {
	// With -b every request is a broadcast; otherwise later ones go to the first responder alone. The exit status is 1 without a response.
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
