package balancer

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/machine"
)

// fakeNetwork is a machine's network, as a test wants it.
type fakeNetwork struct {
	states  chan *machine.State
	targets []machine.Target
}

func (n *fakeNetwork) Follow(targets []machine.Target) { n.targets = targets }
func (n *fakeNetwork) Run(context.Context)             {}
func (n *fakeNetwork) States() <-chan *machine.State   { return n.states }

func (n *fakeNetwork) SyncMembers() (map[int]bool, error) {
	return map[int]bool{4: true, 9: true}, nil
}

// place reports a network where every followed address is at a place.
func (n *fakeNetwork) place(p machine.Place, links ...machine.Link) {
	s := &machine.State{Links: links, Places: map[machine.Target]machine.Place{}}
	for _, t := range n.targets {
		s.Places[t] = p
	}
	n.states <- s
	synctest.Wait()
}

// TestAVIPThatVanishesIsAProblemAtOnce takes the virtual IP from the active balancer, then lets another one have it.
func TestAVIPThatVanishesIsAProblemAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		n := &fakeNetwork{states: make(chan *machine.State)}
		r.network = n
		r.fleet.set("10.0.0.1", 50)
		r.boot(webapp("web", 7, 1))
		eth10 := machine.Link{Index: 3, Name: "eth10", Up: true}
		at := func(p machine.Place) (api.VIPStatus, string) {
			n.place(p, eth10)
			s := r.status("web")
			return s.VIPs[0], problems(s)
		}
		here := machine.Place{Here: true, Interface: "eth10"}
		if v, p := at(here); v.String() != "204.109.13.7 on eth10" || !v.Present() || v.Expected || p != "" {
			t.Errorf("stopped: %+v, %s", v, p)
		}
		r.start("web")
		if v, p := at(here); !v.Expected || p != "" {
			t.Errorf("running: %+v, %s", v, p)
		}
		if metrics := r.get("/metrics", ""); !strings.Contains(metrics,
			`lb_balancer_vip_present{cluster="web",interface="eth10",vip="204.109.13.7"} 1`) {
			t.Error(metrics)
		}
		if page := r.get("/", "text/html"); !strings.Contains(page, "virtual IP 204.109.13.7 on eth10") {
			t.Error(page)
		}
		if v, p := at(machine.Place{Elsewhere: machine.Asking}); v.Present() || p != "vip_absent 204.109.13.7" {
			t.Errorf("vanished: %+v, %s", v, p)
		}
		if events := r.get("/events?cluster=web", "application/json"); !strings.Contains(events, `problem_found`) ||
			!strings.Contains(events, "204.109.13.7 has left this machine") {
			t.Error(events)
		}
		if v, p := at(machine.Place{Elsewhere: machine.Somebody}); v.String() != "204.109.13.7 on another machine" || p != "" {
			t.Errorf("another balancer has it: %+v, %s", v, p)
		}
		if v, p := at(machine.Place{Elsewhere: machine.Unknown}); v.Expected || p != "" {
			t.Errorf("it moved away, and nobody knows where it is: %+v, %s", v, p)
		}
		if v, p := at(machine.Place{Elsewhere: machine.Nobody}); v.Place != api.PlaceNowhere || p != "vip_absent 204.109.13.7" {
			t.Errorf("no machine has it: %+v, %s", v, p)
		}
		for _, want := range []string{
			`vip_present{cluster="web",interface="eth10",vip="204.109.13.7"} 0`, `cluster_trouble{cluster="web"} 1`,
		} {
			if metrics := r.get("/metrics", ""); !strings.Contains(metrics, want) {
				t.Errorf("no %s in\n%s", want, metrics)
			}
		}
		if v, p := at(machine.Place{Here: true}); v.String() != "204.109.13.7 here, by a local route" || p != "" {
			t.Errorf("routed to this machine: %+v, %s", v, p)
		}
		if _, err := r.engine.Stop(t.Context(), "web", "test"); err != nil {
			t.Fatal(err)
		}
		if v, p := at(machine.Place{}); v.Expected || p != "" {
			t.Errorf("stopped: %+v, %s", v, p)
		}
	})
}

// get returns what the daemon serves.
func (r *rig) get(path, accept string) string {
	return strings.ReplaceAll(roundTrip(r.handler(), "GET", path, accept), `\"`, `"`)
}

func prefixOf(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// problems lists the problems of a cluster, by kind and subject.
func problems(s api.ClusterStatus) string {
	var list []string
	for _, p := range s.Problems {
		list = append(list, p.Kind+" "+p.Subject)
	}
	return strings.Join(list, ", ")
}

func TestWhatAClusterNeedsOfTheNetworkIsAProblemWithoutIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		n := &fakeNetwork{states: make(chan *machine.State)}
		r.network = n
		r.balancer.Sync = config.Sync{Interface: "eth1"}
		nat, relay, off := webapp("nat", 7, 1), webapp("relay", 8, 2), webapp("off", 9, 3)
		nat.Forwarding, off.Forwarding = config.NAT, config.NAT
		nat.Nodes = append(nat.Nodes, config.Node{Address: addr("fd00::1")})
		relay.Relay = config.Relay{Enabled: true, Mark: 10008}
		r.boot(nat, relay, off)
		r.start("nat")
		r.start("relay")
		here := machine.Place{Here: true, Interface: "eth10"}
		eth10 := machine.Link{Index: 3, Name: "eth10", Up: true, Forward4: true}
		prefix := machine.Address{Prefix: prefixOf("10.0.0.9/24")}
		eth1 := machine.Link{Index: 4, Name: "eth1", Up: true, Forward4: true, Addresses: []machine.Address{prefix}}
		tunl0 := machine.Link{Index: 5, Name: "tunl0", Up: true}
		report := func(change func(*machine.State), links ...machine.Link) {
			s := &machine.State{Links: links, Forward4: true, Forward6: true, Places: map[machine.Target]machine.Place{}}
			for _, t := range n.targets {
				s.Places[t] = here
			}
			change(s)
			n.states <- s
			synctest.Wait()
		}
		same := func(*machine.State) {}
		down, blocked, strict, bare := eth10, eth1, tunl0, eth1
		down.Up, blocked.Forward4, strict.Strict4, bare.Addresses = false, false, true, nil
		for _, tt := range []struct {
			name       string
			change     func(*machine.State)
			links      []machine.Link
			nat, relay string
		}{
			{"all is there", same, []machine.Link{eth10, eth1, tunl0}, "", ""},
			{"ip_forward is 0", func(s *machine.State) { s.Forward4 = false }, []machine.Link{eth10, eth1, tunl0},
				"ip_forward net.ipv4.ip_forward", ""},
			{"forwarding of IPv6 is 0", func(s *machine.State) { s.Forward6 = false }, []machine.Link{eth10, eth1, tunl0},
				"ip_forward net.ipv6.conf.all.forwarding", ""},
			{"the interface to the nodes does not forward", same, []machine.Link{eth10, blocked, tunl0},
				"ip_forward net.ipv4.conf.eth1.forwarding", ""},
			{"the interface of the virtual IP is gone", same, []machine.Link{eth1, tunl0}, "interface eth10", "interface eth10"},
			{"the interface of the virtual IP is down", same, []machine.Link{down, eth1, tunl0}, "interface eth10", "interface eth10"},
			{"rp_filter is strict where others' packets arrive", same, []machine.Link{eth10, eth1, strict},
				"", "rp_filter net.ipv4.conf.tunl0.rp_filter"},
			{"no tunnel where others' packets arrive", same, []machine.Link{eth10, eth1}, "", "interface tunl0"},
			{"no interface to the other balancers", same, []machine.Link{eth10, tunl0}, "sync eth1", "sync eth1"},
			{"no address to send to the other balancers from", same, []machine.Link{eth10, bare, tunl0}, "sync eth1", "sync eth1"},
		} {
			report(tt.change, tt.links...)
			if got := problems(r.status("nat")); got != tt.nat {
				t.Errorf("%s: cluster nat has the problems %q, want %q", tt.name, got, tt.nat)
			}
			if got := problems(r.status("relay")); got != tt.relay {
				t.Errorf("%s: cluster relay has the problems %q, want %q", tt.name, got, tt.relay)
			}
		}
		report(func(s *machine.State) { s.Renamed = map[string]string{"eth10": "wan0"} }, eth1, tunl0)
		if s := r.status("nat"); !strings.Contains(s.Problems[0].Text, "interface eth10 is now named wan0") {
			t.Errorf("renamed: %v", s.Problems)
		}
		report(same, eth10, eth1, tunl0)
		found, solved := 0, 0
		events, _ := r.engine.rec.Report.Journal.Since(0)
		for _, e := range events {
			switch e.Kind {
			case event.ProblemFound:
				found++
			case event.ProblemSolved:
				solved++
			}
		}
		if found == 0 || found != solved {
			t.Errorf("%d problems found, %d solved", found, solved)
		}
	})
}

// TestSyncDaemonsAreStartedAgainOnANewInterface makes the interface again under the daemons, which the kernel does not tell them.
func TestSyncDaemonsAreStartedAgainOnANewInterface(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		n := &fakeNetwork{states: make(chan *machine.State)}
		r.network = n
		r.balancer.Sync = config.Sync{Interface: "eth1", ID: 7}
		r.boot(webapp("web", 7, 1))
		link := machine.Link{Index: 4, Name: "eth1", Up: true, Addresses: []machine.Address{{Prefix: prefixOf("10.0.0.9/24")}}}
		starts := 0
		r.table.SetFault(func(c ipvs.Call) error {
			if c.Operation == "start daemon" {
				starts++
			}
			return nil
		})
		see := func(links ...machine.Link) int {
			starts = 0
			n.place(machine.Place{}, links...)
			r.wait(2*time.Second + minGap)
			r.wantDaemons("master eth1 7, backup eth1 7")
			return starts
		}
		if got := see(link); got != 0 {
			t.Errorf("%d starts although nothing changed", got)
		}
		again := link
		again.Index = 9
		bare := again
		bare.Addresses = nil
		if got := see() + see(bare); got != 0 {
			t.Errorf("%d starts while the interface cannot be used", got)
		}
		if got := see(again); got != 2 {
			t.Errorf("%d starts on the new interface, want 2", got)
		}
		r.wantLog("drift repaired", "start the backup sync daemon on eth1, id 7 again: eth1 was deleted and made again")
		down, moved := again, again
		down.Up = false
		moved.Addresses = []machine.Address{{Prefix: prefixOf("10.0.0.8/24")}}
		if got := see(down) + see(again); got != 2 {
			t.Errorf("%d starts after the interface was down, want 2", got)
		}
		if got := see(moved); got != 2 {
			t.Errorf("%d starts after a change of the address, want 2", got)
		}
		if got := see(moved); got != 0 {
			t.Errorf("%d starts although nothing changed", got)
		}
	})
}
