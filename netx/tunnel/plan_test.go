package tunnel

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// addrs parses addresses.
func addrs(texts ...string) []netip.Addr {
	var list []netip.Addr
	for _, t := range texts {
		list = append(list, netip.MustParseAddr(t))
	}
	return list
}

// freshState is a freshly booted machine, with the tunl0 that the module created.
func freshState() State {
	return State{
		Device:  Device{Kind: "ipip"},
		Device6: Device{Kind: "ip6tnl"},
		Links: []Link{
			{"eth0", 1500, addrs("10.0.0.1", "fd00::1", "fe80::1")}, {"wg0", 1420, addrs("10.8.0.1", "fd08::1")},
			{"v6only", 1300, addrs("fe80::2")},
		},
		Sysctls: map[string]string{
			"all/arp_ignore": "0", "all/arp_announce": "0", "all/rp_filter": "1",
			"eth0/arp_ignore": "0", "eth0/arp_announce": "0", "eth0/rp_filter": "1",
			"tunl0/arp_ignore": "0", "tunl0/arp_announce": "0", "tunl0/rp_filter": "0",
		},
		Saved: Saved{Sysctls: map[string]SavedSysctl{}},
	}
}

// with returns an edited fresh state.
func with(edit func(*State)) State {
	s := freshState()
	edit(&s)
	return s
}

// descriptions returns the steps as strings.
func descriptions(steps []Step) []string {
	var list []string
	for _, s := range steps {
		list = append(list, s.String())
	}
	return list
}

func TestPlan(t *testing.T) {
	node := addrs("10.0.0.1")
	upToDate := after(freshState(), must(Plan(freshState(), Desired{addrs("10.9.0.100"), node})))
	tests := []planTest{
		{"from nothing, sysctls first and virtual IPs last", freshState(), Desired{
			addrs("10.9.0.101", "10.9.0.100", "::ffff:10.9.0.101"), node,
		}, []string{
			"set net/ipv4/conf/all/arp_announce to 2 (is 0)",
			"set net/ipv4/conf/all/arp_ignore to 1 (is 0)",
			"set net/ipv4/conf/tunl0/rp_filter to 2 (is 0)",
			"set tunl0 up",
			"write nftables table inet lb_agent: clamp the MSS of 10.9.0.100, 10.9.0.101 to 1440 bytes",
			"add 10.9.0.100/32 to tunl0",
			"add 10.9.0.101/32 to tunl0",
		}},
		{"nothing to do", upToDate, Desired{addrs("10.9.0.100"), node}, nil},
		{"without tunl0", with(func(s *State) {
			s.Device.Kind = ""
			delete(s.Sysctls, "tunl0/rp_filter")
		}), Desired{addrs("10.9.0.100"), node}, []string{
			"create tunl0 and load the kernel module ipip",
			"set net/ipv4/conf/all/arp_announce to 2 (is 0)",
			"set net/ipv4/conf/all/arp_ignore to 1 (is 0)",
			"set net/ipv4/conf/tunl0/rp_filter to 2",
			"set tunl0 up",
			"write nftables table inet lb_agent: clamp the MSS of 10.9.0.100 to 1440 bytes",
			"add 10.9.0.100/32 to tunl0",
		}},
		{"another virtual IP", upToDate, Desired{addrs("10.9.0.101"), node}, []string{
			"write nftables table inet lb_agent: clamp the MSS of 10.9.0.101 to 1440 bytes",
			"add 10.9.0.101/32 to tunl0",
			"remove 10.9.0.100/32 from tunl0",
		}},
		{"unmanaged virtual IPs count and are not touched", with(func(s *State) {
			*s = upToDate
			s.VIPs = []Address{{addrs("10.9.0.100")[0], false}, {addrs("10.9.0.7")[0], false}}
		}), Desired{addrs("10.9.0.100"), node}, nil},
		{"all interfaces count if no node address is given", upToDate, Desired{VIPs: addrs("10.9.0.100")}, []string{
			"write nftables table inet lb_agent: clamp the MSS of 10.9.0.100 to 1360 bytes",
		}},
		{"all interfaces count if none has the node address", upToDate, Desired{addrs("10.9.0.100"), addrs("10.0.0.9")}, []string{
			"write nftables table inet lb_agent: clamp the MSS of 10.9.0.100 to 1360 bytes",
		}},
		{"equivalent ARP sysctls stay, leaking ones are changed", with(func(s *State) {
			*s = upToDate
			s.Sysctls = maps.Clone(s.Sysctls)
			s.Sysctls["all/arp_ignore"], s.Sysctls["eth0/arp_ignore"] = "2", "3"
		}), Desired{addrs("10.9.0.100"), node}, []string{"set net/ipv4/conf/eth0/arp_ignore to 1 (is 3)"}},
		{"an unexpected table", with(func(s *State) {
			*s = upToDate
			s.Clamp = &MSSClamp{}
		}), Desired{addrs("10.9.0.100"), node}, []string{
			"write nftables table inet lb_agent: clamp the MSS of 10.9.0.100 to 1440 bytes",
		}},
		{"no virtual IP left", upToDate, Desired{}, []string{
			"remove 10.9.0.100/32 from tunl0",
			"delete nftables table inet lb_agent",
			"set tunl0 down",
			"restore net/ipv4/conf/all/arp_announce to 0 (is 2)",
			"restore net/ipv4/conf/all/arp_ignore to 0 (is 1)",
			"restore net/ipv4/conf/tunl0/rp_filter to 0 (is 2)",
			"delete the saved settings",
		}},
		{"what others changed since Up stays", with(func(s *State) {
			*s = upToDate
			s.Device.InUse = true
			s.Sysctls = maps.Clone(s.Sysctls)
			s.Sysctls["all/arp_ignore"] = "8"
		}), Desired{}, []string{
			"remove 10.9.0.100/32 from tunl0",
			"delete nftables table inet lb_agent",
			"restore net/ipv4/conf/all/arp_announce to 0 (is 2)",
			"restore net/ipv4/conf/tunl0/rp_filter to 0 (is 2)",
			"delete the saved settings",
		}},
		{"nothing desired, nothing present", freshState(), Desired{}, nil},
	}
	runPlanTests(t, tests)
}

func TestPlanForIPv6(t *testing.T) {
	runPlanTests(t, []planTest{
		{"alone", freshState(), Desired{addrs("fd09::100"), addrs("fd00::1")}, []string{
			"write nftables table inet lb_agent: clamp the MSS of fd09::100 to 1400 bytes",
			"set ip6tnl0 up",
			"add fd09::100/128 to ip6tnl0",
		}},
		{"beside IPv4, over any interface, without ip6tnl0", with(func(s *State) { s.Device6.Kind = "" }),
			Desired{VIPs: addrs("fd09::100", "10.9.0.100")}, []string{
				"set net/ipv4/conf/all/arp_announce to 2 (is 0)",
				"set net/ipv4/conf/all/arp_ignore to 1 (is 0)",
				"set net/ipv4/conf/tunl0/rp_filter to 2 (is 0)",
				"set tunl0 up",
				"write nftables table inet lb_agent: clamp the MSS of 10.9.0.100 to 1360 bytes and the MSS of fd09::100 to 1320 bytes",
				"add 10.9.0.100/32 to tunl0",
				"create ip6tnl0 and load the kernel module ip6_tunnel",
				"set ip6tnl0 up",
				"add fd09::100/128 to ip6tnl0",
			}},
	})
}

// planTest is a state, what is desired, and the steps in between.
type planTest struct {
	name    string
	current State
	want    Desired
	steps   []string
}

func runPlanTests(t *testing.T, tests []planTest) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			steps, err := Plan(tt.current, tt.want)
			if err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(tt.steps, descriptions(steps)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestPlanReportsWhatItCannotSetUp(t *testing.T) {
	tests := []struct {
		name    string
		current State
		want    Desired
		error   string
		steps   int
	}{
		{"an impossible IPv6 virtual IP beside an IPv4 one", with(func(s *State) { s.Device6.Kind = "sit" }),
			Desired{VIPs: addrs("fd09::100", "10.9.0.100")}, "interface ip6tnl0 has type sit, not ip6tnl", 6},
		{"an impossible IPv4 virtual IP beside an IPv6 one", with(func(s *State) { s.Device.Kind = "dummy" }),
			Desired{VIPs: addrs("fd09::100", "10.9.0.100")}, "interface tunl0 has type dummy, not ipip", 3},
		{"an MTU too small for IPv6", with(func(s *State) { s.Links[0].MTU = 1200 }), Desired{VIPs: addrs("fd09::100")},
			"the MTU of interface eth0 is only 1200 bytes", 0},
		{"tunl0 has another type", with(func(s *State) { s.Device.Kind = "dummy" }), Desired{VIPs: addrs("10.9.0.100")},
			"interface tunl0 has type dummy, not ipip", 0},
		{"no network", with(func(s *State) { s.Links = nil }), Desired{VIPs: addrs("10.9.0.100")},
			"no interface except loopback and the tunnel is up", 0},
		{"tiny MTU", with(func(s *State) { s.Links[0].MTU = 60 }), Desired{VIPs: addrs("10.9.0.100")},
			"the MTU of interface eth0 is only 60 bytes", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			steps, err := Plan(tt.current, tt.want)
			if err == nil || !strings.Contains(err.Error(), tt.error) {
				t.Errorf("got %v, want %q", err, tt.error)
			}
			if len(steps) != tt.steps {
				t.Errorf("got %d steps, want %d: %q", len(steps), tt.steps, descriptions(steps))
			}
		})
	}
}

func must(steps []Step, err error) []Step {
	if err != nil {
		panic(err)
	}
	return steps
}

// after is the state that the steps should leave behind.
func after(s State, steps []Step) State {
	s.Sysctls, s.Saved.Sysctls, s.VIPs = maps.Clone(s.Sysctls), maps.Clone(s.Saved.Sysctls), slices.Clone(s.VIPs)
	s.Saved.VIPs6 = slices.Clone(s.Saved.VIPs6)
	device := func(name string) (*Device, *bool) {
		if name == "ip6tnl0" {
			return &s.Device6, &s.Saved.Device6Up
		}
		return &s.Device, &s.Saved.DeviceUp
	}
	for _, step := range steps {
		switch step.Action {
		case SetSysctl:
			if _, known := s.Saved.Sysctls[step.Key]; !known {
				s.Saved.Sysctls[step.Key] = SavedSysctl{s.Sysctls[step.Key], step.Value}
			}
			s.Sysctls[step.Key] = step.Value
		case RestoreSysctl:
			s.Sysctls[step.Key] = step.Value
			delete(s.Saved.Sysctls, step.Key)
		case CreateDevice:
			d, _ := device(step.Device)
			d.Kind = map[string]string{"tunl0": "ipip", "ip6tnl0": "ip6tnl"}[step.Device]
			if step.Device == "tunl0" {
				s.Sysctls["tunl0/rp_filter"] = "0"
			}
		case DeviceUp:
			d, saved := device(step.Device)
			d.Up, *saved = true, true
		case DeviceDown:
			d, _ := device(step.Device)
			d.Up = false
		case WriteClamp:
			s.Clamp = &step.Clamp
		case DeleteClamp:
			s.Clamp = nil
		case AddVIP:
			s.VIPs = append(s.VIPs, Address{step.VIP, true})
			if step.VIP.Is6() {
				s.Saved.VIPs6 = append(s.Saved.VIPs6, step.VIP)
			}
		case RemoveVIP:
			s.Saved.VIPs6 = slices.DeleteFunc(s.Saved.VIPs6, func(a netip.Addr) bool { return a == step.VIP })
			s.VIPs = slices.DeleteFunc(s.VIPs, func(a Address) bool { return a.Addr == step.VIP })
		case DeleteSaved:
			s.Saved = Saved{Sysctls: map[string]SavedSysctl{}}
		}
	}
	return s
}

func TestPlansConvergeAndDownRestores(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		address := rapid.Custom(func(t *rapid.T) netip.Addr {
			last := rapid.Byte().Draw(t, "last")
			if rapid.Bool().Draw(t, "ipv6") {
				return netip.AddrFrom16([16]byte{0: 0xfd, 1: 9, 15: last})
			}
			return netip.AddrFrom4([4]byte{10, 9, 0, last})
		})
		start := freshState()
		for _, key := range slices.Sorted(maps.Keys(start.Sysctls)) {
			start.Sysctls[key] = rapid.SampledFrom([]string{"0", "1", "2", "3"}).Draw(t, key)
		}
		start.Device.Up, start.Device6.Up = rapid.Bool().Draw(t, "up"), rapid.Bool().Draw(t, "up6")
		now := start
		for range rapid.IntRange(1, 4).Draw(t, "changes") {
			want := Desired{VIPs: rapid.SliceOfN(address, 1, 5).Draw(t, "vips")}
			now = after(now, must(Plan(now, want)))
			if again := must(Plan(now, want)); len(again) != 0 {
				t.Fatalf("a second plan is %q", descriptions(again))
			}
			if faults := Faults(now, want); len(faults) != 0 {
				t.Fatalf("faults after the plan: %v", faults)
			}
			for _, v := range want.VIPs {
				if !slices.ContainsFunc(now.VIPs, func(a Address) bool { return a.Addr == v }) {
					t.Fatalf("%s is missing", v)
				}
			}
		}
		now = after(now, planDown(now))
		if again := planDown(now); len(again) != 0 {
			t.Fatalf("a second planDown is %q", descriptions(again))
		}
		if diff := cmp.Diff(start, now, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Fatalf("not restored: -before +after\n%s", diff)
		}
	})
}
