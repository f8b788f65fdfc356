//go:build lab

package tunnel_test

import (
	"context"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/braintree/lb/netx/lab/labtest"
	"github.com/braintree/lb/netx/tunnel"
)

func TestTheKernelNotifiesOfEachChange(t *testing.T) {
	app := build(t).app
	up(t, app, "10.9.0.100", "fd09::100")
	var calls atomic.Int64
	setup := tunnel.New(stateDir, labtest.Log(t))
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan error, 1)
	go func() {
		watched <- app.Do(func() error { return setup.Watch(ctx, func() { calls.Add(1) }) })
	}()
	labtest.Eventually(t, patience, "the watch has started", func() (bool, string) { return calls.Load() > 0, "" })
	desired := tunnel.Desired{VIPs: []netip.Addr{netip.MustParseAddr("10.9.0.100"), netip.MustParseAddr("fd09::100")}}
	for _, tt := range []struct{ name, by, fault string }{
		{"link down", "ip link set tunl0 down", "tunl0 is down"},
		{"IPv6 link down", "ip link set ip6tnl0 down", "ip6tnl0 is down"},
		{"address deleted", "ip addr del 10.9.0.100/32 dev tunl0", "10.9.0.100 is not on tunl0"},
		{"addresses flushed", "ip addr flush dev tunl0", "10.9.0.100 is not on tunl0"},
		{"IPv6 address deleted", "ip addr del fd09::100/128 dev ip6tnl0", "fd09::100 is not on ip6tnl0"},
		{"ruleset flushed", "nft flush ruleset", "nftables table inet lb_agent is missing or changed, so uploads may hang"},
		{"rules flushed", "nft flush table inet lb_agent", "nftables table inet lb_agent is missing or changed, so uploads may hang"},
		{"table dormant", "nft add table inet lb_agent '{ flags dormant; }'",
			"nftables table inet lb_agent is missing or changed, so uploads may hang"},
		{"rp_filter", "sysctl -w net.ipv4.conf.tunl0.rp_filter=1", "net/ipv4/conf/tunl0/rp_filter is 1, not 2"},
		{"arp_ignore", "sysctl -w net.ipv4.conf.all.arp_ignore=0", "net/ipv4/conf/all/arp_ignore is 0, not 1"},
		{"arp_announce", "sysctl -w net.ipv4.conf.all.arp_announce=0", "net/ipv4/conf/all/arp_announce is 0, not 2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := calls.Load()
			labtest.Run(t, app, "sh", "-c", tt.by)
			labtest.Eventually(t, patience, "the kernel notifies", func() (bool, string) { return calls.Load() > before, "" })
			var faults []tunnel.Fault
			if err := app.Do(func() error {
				state, err := setup.State(t.Context())
				faults = tunnel.Faults(state, desired)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			if got := tunnel.Describe(faults); got != tt.fault {
				t.Errorf("faults: %q, want %q", got, tt.fault)
			}
			up(t, app, "10.9.0.100", "fd09::100")
		})
	}
	if err := app.Do(func() error {
		const looks = 50
		start := time.Now()
		for range looks {
			if _, err := setup.State(t.Context()); err != nil {
				return err
			}
		}
		t.Logf("a look takes %v", (time.Since(start) / looks).Round(time.Microsecond))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	// What other programs do is not worth a look.
	labtest.Eventually(t, patience, "notifications of the last repair have arrived", quiet(&calls))
	before := calls.Load()
	labtest.Run(t, app, "sh", "-c", "ip link add veth9 type veth peer name veth8; ip link set veth9 up; "+
		"nft add table inet other; nft add chain inet other c; nft delete table inet other; ip link del veth9")
	labtest.Run(t, app, "sysctl", "-w", "net.ipv4.conf.all.arp_announce=2") // marks the end
	labtest.Eventually(t, patience, "the end is notified", func() (bool, string) { return calls.Load() > before, "" })
	if extra := calls.Load() - before - 1; extra > 1 { // a write may be two events
		t.Errorf("%d notifications of what does not concern the tunnel", extra)
	}
	cancel()
	if err := <-watched; err != nil {
		t.Error(err)
	}
}

// quiet returns a condition that holds once the counter has not moved for a while.
func quiet(calls *atomic.Int64) func() (bool, string) {
	last, since := int64(-1), time.Now()
	return func() (bool, string) {
		if now := calls.Load(); now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > time.Second, ""
	}
}
