package tunnel

import (
	"errors"
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
		Device: Device{Kind: "ipip"},
		Links:  []Link{{"eth0", 1500, addrs("10.0.0.1")}, {"wg0", 1420, addrs("10.8.0.1")}},
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
	tests := []struct {
		name    string
		current State
		want    Desired
		steps   []string
	}{
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
		{"an IPv6 virtual IP beside an IPv4 one", freshState(), Desired{VIPs: addrs("fd09::100", "10.9.0.100")},
			"fd09::100: IPv6 virtual IPs are not yet supported", 6},
		{"only IPv6", freshState(), Desired{VIPs: addrs("fd09::100")},
			"fd09::100: IPv6 virtual IPs are not yet supported", 0},
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
	if _, err := Plan(freshState(), Desired{VIPs: addrs("fd09::100")}); !errors.Is(err, ErrIPv6) {
		t.Errorf("%v is not ErrIPv6", err)
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
			s.Device.Kind = "ipip"
			s.Sysctls["tunl0/rp_filter"] = "0"
		case DeviceUp:
			s.Device.Up, s.Saved.DeviceUp = true, true
		case DeviceDown:
			s.Device.Up = false
		case WriteClamp:
			s.Clamp = &step.Clamp
		case DeleteClamp:
			s.Clamp = nil
		case AddVIP:
			s.VIPs = append(s.VIPs, Address{step.VIP, true})
		case RemoveVIP:
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
			return netip.AddrFrom4([4]byte{10, 9, 0, rapid.Byte().Draw(t, "last")})
		})
		start := freshState()
		for _, key := range slices.Sorted(maps.Keys(start.Sysctls)) {
			start.Sysctls[key] = rapid.SampledFrom([]string{"0", "1", "2", "3"}).Draw(t, key)
		}
		start.Device.Up = rapid.Bool().Draw(t, "up")
		now := start
		for range rapid.IntRange(1, 4).Draw(t, "changes") {
			want := Desired{VIPs: rapid.SliceOfN(address, 1, 5).Draw(t, "vips")}
			now = after(now, must(Plan(now, want)))
			if again := must(Plan(now, want)); len(again) != 0 {
				t.Fatalf("a second plan is %q", descriptions(again))
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
