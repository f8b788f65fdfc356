//go:build lab

package machine_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/braintree/lb/netx/lab"
	"github.com/braintree/lb/netx/lab/labtest"
	"github.com/braintree/lb/netx/machine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// observer follows the network of a host.
type observer struct {
	t      *testing.T
	states <-chan *machine.State
	last   *machine.State
}

func observe(t *testing.T, h *lab.Host, targets ...machine.Target) *observer {
	t.Helper()
	var w *machine.Watcher
	if err := h.Do(func() (err error) { w, err = machine.NewWatcher(slog.New(slog.DiscardHandler)); return err }); err != nil {
		t.Fatal(err)
	}
	w.Follow(targets)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); w.Run(ctx) }()
	t.Cleanup(func() { stop(); <-ended })
	return &observer{t: t, states: w.States()}
}

// until waits for a state and returns how long that took.
func (o *observer) until(what string, ok func(*machine.State) bool) time.Duration {
	o.t.Helper()
	began, limit := time.Now(), time.After(time.Minute)
	for o.last == nil || !ok(o.last) {
		select {
		case o.last = <-o.states:
		case <-limit:
			o.t.Fatalf("not seen: %s; the last state is %+v", what, o.last)
		}
	}
	took := time.Since(began)
	o.t.Logf("%s: seen after %s", what, took.Round(time.Millisecond))
	return took
}

// at is a condition: a target is at a place.
func at(target machine.Target, want machine.Place) func(*machine.State) bool {
	return func(s *machine.State) bool { return s.Places[target] == want }
}

func vipOf(address, iface string) machine.Target {
	return machine.Target{Address: netip.MustParseAddr(address), Interface: iface, Mark: 7}
}

// TestAVirtualIPIsFound moves a virtual IP of each family between two hosts.
func TestAVirtualIPIsFound(t *testing.T) {
	l := labtest.New(t)
	lan := labtest.Switch(t, l, "lan")
	a := labtest.Host(t, l, lan, "load01", "10.9.0.1/24", "fd09::1/64")
	b := labtest.Host(t, l, lan, "load02", "10.9.0.2/24", "fd09::2/64")
	for _, family := range []string{"ipv4", "ipv6"} { // the kernel doubts a neighbour's answer after a second, not half a minute
		for _, setting := range []string{"base_reachable_time_ms=1000", "delay_first_probe_time=1"} {
			labtest.Run(t, a, "sysctl", "-qw", "net."+family+".neigh.eth0."+setting)
		}
	}
	for _, address := range []string{"10.9.0.100", "fd09::100"} {
		t.Run(address, func(t *testing.T) {
			t.Parallel()
			vip := vipOf(address, "eth0")
			prefix := netip.PrefixFrom(vip.Address, vip.Address.BitLen()).String()
			change := func(h *lab.Host, what string) {
				t.Helper()
				words := []string{"address", what, prefix, "dev", "eth0"}
				if what == "add" && vip.Address.Is6() {
					words = append(words, "nodad")
				}
				labtest.Run(t, h, "ip", words...)
			}
			o := observe(t, a, vip, vipOf("10.9.0.200", "eth0"), vipOf("fd09::200", "")) // each family has its own neighbours
			o.until("no machine has it", at(vip, machine.Place{Elsewhere: machine.Nobody}))
			change(b, "add")
			o.until("another machine has it", at(vip, machine.Place{Elsewhere: machine.Somebody}))
			change(a, "add")
			if took := o.until("it is here", at(vip, machine.Place{Here: true, Interface: "eth0"})); took > 2*time.Second {
				t.Errorf("seen after %s, want at once", took)
			}
			change(a, "del")
			if took := o.until("it is not here", func(s *machine.State) bool { return !s.Places[vip].Here }); took > 2*time.Second {
				t.Errorf("seen after %s, want at once", took)
			}
			o.until("another machine has it", at(vip, machine.Place{Elsewhere: machine.Somebody}))
			change(b, "del")
			o.until("no machine has it", at(vip, machine.Place{Elsewhere: machine.Nobody}))
		})
	}
}

// TestANodesAddressIsNotTheBalancers finds a virtual IP on the tunnel of a machine that is a node, and a balancer as well.
func TestANodesAddressIsNotTheBalancers(t *testing.T) {
	l := labtest.New(t)
	lan := labtest.Switch(t, l, "lan")
	a, b := labtest.Host(t, l, lan, "load01", "10.9.0.1/24"), labtest.Host(t, l, lan, "load02", "10.9.0.2/24")
	vip := vipOf("10.9.0.100", "eth0")
	for _, h := range []*lab.Host{a, b} {
		labtest.Run(t, h, "sysctl", "-w", "net.ipv4.conf.all.arp_ignore=1", "net.ipv4.conf.all.arp_announce=2")
		labtest.Run(t, h, "ip", "link", "set", "tunl0", "up")
		labtest.Run(t, h, "ip", "address", "add", "10.9.0.100/32", "dev", "tunl0")
	}
	o := observe(t, a, vip)
	o.until("no balancer has it", at(vip, machine.Place{Elsewhere: machine.Nobody}))
	labtest.Run(t, b, "ip", "address", "add", "10.9.0.100/32", "dev", "eth0")
	o.until("the other balancer has it", at(vip, machine.Place{Elsewhere: machine.Somebody}))
	labtest.Run(t, a, "ip", "address", "add", "10.9.0.100/32", "dev", "eth0")
	o.until("it is here", at(vip, machine.Place{Here: true, Interface: "eth0"}))
	labtest.Run(t, a, "ip", "address", "del", "10.9.0.100/32", "dev", "eth0")
	o.until("it is not here", func(s *machine.State) bool { return !s.Places[vip].Here })
}

// TestALocalRouteCountsAsHere routes addresses to the machine that no interface has.
func TestALocalRouteCountsAsHere(t *testing.T) {
	l := labtest.New(t)
	h := labtest.Host(t, l, labtest.Switch(t, l, "lan"), "load01", "10.9.0.1/24", "fd09::1/64")
	labtest.Run(t, h, "ip", "route", "add", "local", "203.0.113.0/24", "dev", "lo")
	labtest.Run(t, h, "ip", "-6", "route", "add", "local", "2001:db8::/64", "dev", "lo")
	labtest.Run(t, h, "ip", "rule", "add", "fwmark", "7", "lookup", "100")
	labtest.Run(t, h, "ip", "route", "add", "local", "198.51.100.1/32", "dev", "lo", "table", "100")
	anyIP, anyIP6, marked, unmarked := vipOf("203.0.113.7", "eth0"), vipOf("2001:db8::7", ""), vipOf("198.51.100.1", ""),
		machine.Target{Address: netip.MustParseAddr("198.51.100.1")}
	o := observe(t, h, anyIP, anyIP6, marked, unmarked)
	o.until("the places", func(s *machine.State) bool { return len(s.Places) == 4 })
	for target, want := range map[machine.Target]machine.Place{
		anyIP: {Here: true}, anyIP6: {Here: true}, marked: {Here: true}, unmarked: {},
	} {
		if got := o.last.Places[target]; got != want {
			t.Errorf("%+v: %+v, want %+v", target, got, want)
		}
	}
	labtest.Run(t, h, "ip", "route", "del", "local", "203.0.113.0/24", "dev", "lo")
	o.until("without the route", func(s *machine.State) bool { return !s.Places[anyIP].Here })
}

// TestInterfacesAndForwardingAreFollowed renames an interface, makes it again, and changes whether the machine forwards.
func TestInterfacesAndForwardingAreFollowed(t *testing.T) {
	l := labtest.New(t)
	h := labtest.Host(t, l, labtest.Switch(t, l, "lan"), "load01", "10.9.0.1/24")
	labtest.Run(t, h, "ip", "link", "add", "d0", "type", "dummy")
	labtest.Run(t, h, "ip", "link", "set", "d0", "up")
	o := observe(t, h)
	up := func(name string) func(*machine.State) bool {
		return func(s *machine.State) bool { l, ok := s.Link(name); return ok && l.Up }
	}
	o.until("d0 is up", up("d0"))
	was, _ := o.last.Link("d0")
	labtest.Run(t, h, "ip", "link", "set", "d0", "down")
	o.until("d0 is down", func(s *machine.State) bool { return !up("d0")(s) })
	labtest.Run(t, h, "ip", "link", "set", "d0", "name", "d1")
	labtest.Run(t, h, "ip", "link", "set", "d1", "up")
	o.until("d1 is up", up("d1"))
	if got := o.last.Missing("d0"); got != "interface d0 is now named d1" {
		t.Errorf("%q", got)
	}
	labtest.Run(t, h, "ip", "link", "del", "d1")
	labtest.Run(t, h, "ip", "link", "add", "d0", "type", "dummy")
	o.until("d0 is there again", func(s *machine.State) bool { l, ok := s.Link("d0"); return ok && l.Index != was.Index })
	if got := o.last.Missing("d1"); got != "this machine has no interface d1" && !strings.Contains(got, "d0") {
		t.Errorf("%q", got)
	}
	for i, setting := range []string{"net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding", "net.ipv4.conf.eth0.rp_filter"} {
		for _, value := range []string{"1", "0"} {
			labtest.Run(t, h, "sysctl", "-w", setting+"="+value)
			what := fmt.Sprintf("%s is %s", setting, value)
			took := o.until(what, func(s *machine.State) bool {
				eth0, _ := s.Link("eth0")
				return []bool{s.Forward4, s.Forward6, eth0.Strict4}[i] == (value == "1")
			})
			if took > 2*time.Second {
				t.Errorf("%s: seen after %s, want at once", what, took)
			}
		}
	}
}

// TestManyChangesAreCoalesced adds and removes addresses faster than states are read.
func TestManyChangesAreCoalesced(t *testing.T) {
	l := labtest.New(t)
	h := labtest.Host(t, l, labtest.Switch(t, l, "lan"), "load01", "10.9.0.1/24")
	o := observe(t, h)
	const changes = 2000
	done := make(chan error, 1)
	began := time.Now()
	go func() {
		_, err := h.Run(t.Context(), "sh", "-c", fmt.Sprintf(`i=0; while [ $i -lt %d ]; do
			echo "address add 10.9.1.$((i %% 250 + 1))/32 dev eth0"; echo "address del 10.9.1.$((i %% 250 + 1))/32 dev eth0"
			i=$((i + 1)); done | ip -batch -`, changes/2))
		done <- err
	}()
	reads := 0
	for running := true; running; {
		select {
		case <-o.states:
			reads++
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			running = false
		}
	}
	t.Logf("%d changes in %s: %d states", changes, time.Since(began).Round(time.Millisecond), reads)
	if most := int(time.Since(began)/(100*time.Millisecond)) + 2; reads > most {
		t.Errorf("%d states, want at most %d", reads, most)
	}
	labtest.Run(t, h, "ip", "address", "add", "10.9.2.1/32", "dev", "eth0")
	o.until("the last address is there, and no other is left", func(s *machine.State) bool {
		eth0, _ := s.Link("eth0")
		var v4 []string
		for _, a := range eth0.Addresses {
			if a.Addr().Is4() {
				v4 = append(v4, a.String())
			}
		}
		return strings.Join(v4, " ") == "10.9.0.1/24 10.9.2.1/32"
	})
}

// TestADuplicateAddressIsNotHere adds an IPv6 address that another machine has.
func TestADuplicateAddressIsNotHere(t *testing.T) {
	l := labtest.New(t)
	lan := labtest.Switch(t, l, "lan")
	a, b := labtest.Host(t, l, lan, "load01", "fd09::1/64"), labtest.Host(t, l, lan, "load02", "fd09::2/64")
	labtest.Run(t, b, "ip", "address", "add", "fd09::100/128", "dev", "eth0", "nodad")
	labtest.Run(t, a, "sysctl", "-w", "net.ipv6.conf.eth0.accept_dad=1", "net.ipv6.conf.eth0.dad_transmits=1")
	labtest.Run(t, a, "ip", "address", "add", "fd09::100/128", "dev", "eth0")
	vip := vipOf("fd09::100", "eth0")
	o := observe(t, a, vip)
	o.until("the duplicate is found", func(s *machine.State) bool { return s.Places[vip].Fault != "" })
	if p := o.last.Places[vip]; p.Here {
		t.Errorf("%+v", p)
	}
}
