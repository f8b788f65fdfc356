package testbed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/braintree/lb/netx/lab"
)

// InterSiteInterface is the balancers' interface on the network between two data centres.
const InterSiteInterface = "eth1"

// NewSites builds two sites as data centres dc1 and dc2 that share one VIP. Each has a client that sends to its own balancer. The balancers
// reach each other over a network of their own; app nodes reach the clients of both sites. The balancers are not started. The caller
// closes both, the second one first.
func NewSites(ctx context.Context, log *slog.Logger, o Options) (sites [2]*Site, err error) {
	l, err := lab.New(log)
	if err != nil {
		return sites, err
	}
	for i := range sites {
		sites[i] = &Site{
			options: o, lab: l, configured: o.Nodes, location: fmt.Sprintf("dc%d", i+1), peer: interSiteAddress(1 - i),
		}
	}
	for i, s := range sites {
		if err := s.buildSite(ctx, i); err != nil {
			return sites, errors.Join(err, sites[1].Close(), sites[0].Close())
		}
	}
	return sites, nil
}

// interSiteAddress returns the address of a data centre's balancer on the network between the two.
func interSiteAddress(site int) netip.Addr { return netip.AddrFrom4([4]byte{10, 9, 0, byte(site + 1)}) }

// publicPrefix returns the address of a host in the public network of a data centre.
func publicPrefix(site, host int) string { return fmt.Sprintf("198.51.%d.%d/24", site+1, host) }

func (s *Site) buildSite(ctx context.Context, site int) error {
	var links []lab.Link // of an app node, by data centre, without addresses
	for i := range 2 {
		sw, err := s.lab.Switch(fmt.Sprintf("public%d", i+1))
		if err != nil {
			return err
		}
		name := publicInterface
		if i != site {
			name = "eth11"
		}
		links = append(links, lab.Link{Switch: sw, Interface: name})
	}
	private, err := s.lab.Switch("private-" + s.location)
	if err != nil {
		return err
	}
	if err := s.buildFrontend(ctx, site, links[site].Switch, private); err != nil {
		return err
	}
	for n := 1; n <= s.options.Nodes; n++ {
		address := netip.AddrFrom4([4]byte{10, 0, byte(site + 1), byte(n)})
		appLinks := []lab.Link{newLink(private, privateInterface, address.String()+"/24")}
		for i, l := range links {
			appLinks = append(appLinks, newLink(l.Switch, l.Interface, publicPrefix(i, 100+10*site+n)))
		}
		host, err := s.lab.Host(fmt.Sprintf("%s-app%02d", s.location, n), appLinks...)
		if err != nil {
			return err
		}
		s.Apps = append(s.Apps, NewApp(host, address))
	}
	if err := s.writeConfig(); err != nil {
		return err
	}
	s.Balancer = s.newBalancer(s.BalancerHost)
	return s.startApps(ctx)
}

// buildFrontend builds the client and balancer of a data centre, and sets the balancer up to accept packets from the other one.
func (s *Site) buildFrontend(ctx context.Context, site int, outside, inside *lab.Switch) (err error) {
	s.Client, err = s.lab.Host(s.location+"-client", newLink(outside, publicInterface, publicPrefix(site, 200)))
	if err != nil {
		return err
	}
	between, err := s.lab.Switch("wide")
	if err != nil {
		return err
	}
	s.BalancerHost, err = s.lab.Host(s.location+"-load",
		newLink(outside, publicInterface, publicPrefix(site, 11)),
		newLink(inside, privateInterface, fmt.Sprintf("10.0.%d.254/24", site+1)),
		newLink(between, InterSiteInterface, interSiteAddress(site).String()+"/24"))
	if err != nil {
		return err
	}
	if err := s.Client.Route(netip.PrefixFrom(VIP, 32), netip.MustParsePrefix(publicPrefix(site, 11)).Addr()); err != nil {
		return err
	}
	// docs/sites.md describes two ways to accept packets for the VIP. Each data centre uses one.
	setup := [][]string{{"modprobe", "ipip"}, {"ip", "link", "set", "tunl0", "up"}}
	if site == 0 {
		setup = append(setup, []string{"ip", "address", "add", VIP.String() + "/32", "dev", publicInterface})
	} else {
		for _, mark := range []string{"7", "10007"} {
			setup = append(setup, []string{"ip", "rule", "add", "fwmark", mark, "lookup", "10007"})
		}
		setup = append(setup, []string{"ip", "route", "add", "local", "default", "dev", "lo", "table", "10007"})
	}
	for _, args := range setup {
		if _, err := s.BalancerHost.Run(ctx, args[0], args[1:]...); err != nil {
			return err
		}
	}
	return nil
}
