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

// addrs reads addresses.
func addrs(texts ...string) []netip.Addr {
	var list []netip.Addr
	for _, t := range texts {
		list = append(list, netip.MustParseAddr(t))
	}
	return list
}

// bare is a machine as it starts, with a tunl0 that the loaded module made.
func bare() State {
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

// with changes a copy of the bare machine.
func with(edit func(*State)) State {
	s := bare()
	edit(&s)
	return s
}

// words are the steps as an operator reads them.
func words(steps []Step) []string {
	var list []string
	for _, s := range steps {
		list = append(list, s.String())
	}
	return list
}

func TestPlan(t *testing.T) {
	node := addrs("10.0.0.1")
	settled := after(bare(), must(Plan(bare(), Desired{addrs("10.9.0.100"), node})))
	tests := []struct {
		name    string
		current State
		want    Desired
		steps   []string
	}{
		{"from nothing, settings first and virtual IPs last", bare(), Desired{addrs("10.9.0.101", "10.9.0.100", "::ffff:10.9.0.101"), node}, []string{
			"set net/ipv4/conf/all/arp_announce to 2 (is 0)",
			"set net/ipv4/conf/all/arp_ignore to 1 (is 0)",
			"set net/ipv4/conf/tunl0/rp_filter to 2 (is 0)",
			"set tunl0 up",
			"write nftables table inet lb_agent: segments of at most 1440 bytes to 10.9.0.100, 10.9.0.101",
			"add 10.9.0.100/32 to tunl0",
			"add 10.9.0.101/32 to tunl0",
		}},
		{"nothing to do", settled, Desired{addrs("10.9.0.100"), node}, nil},
		{"without tunl0", with(func(s *State) { s.Device.Kind = ""; delete(s.Sysctls, "tunl0/rp_filter") }), Desired{addrs("10.9.0.100"), node}, []string{
			"create tunl0, loading the kernel's ipip module",
			"set net/ipv4/conf/all/arp_announce to 2 (is 0)",
			"set net/ipv4/conf/all/arp_ignore to 1 (is 0)",
			"set net/ipv4/conf/tunl0/rp_filter to 2",
			"set tunl0 up",
			"write nftables table inet lb_agent: segments of at most 1440 bytes to 10.9.0.100",
			"add 10.9.0.100/32 to tunl0",
		}},
		{"another virtual IP", settled, Desired{addrs("10.9.0.101"), node}, []string{
			"write nftables table inet lb_agent: segments of at most 1440 bytes to 10.9.0.101",
			"add 10.9.0.101/32 to tunl0",
			"remove 10.9.0.100/32 from tunl0",
		}},
		{"somebody else's virtual IPs are taken as they are and left alone", with(func(s *State) {
			*s = settled
			s.VIPs = []Address{{addrs("10.9.0.100")[0], false}, {addrs("10.9.0.7")[0], false}}
		}), Desired{addrs("10.9.0.100"), node}, nil},
		{"every interface counts where no node address is given", settled, Desired{VIPs: addrs("10.9.0.100")}, []string{
			"write nftables table inet lb_agent: segments of at most 1360 bytes to 10.9.0.100",
		}},
		{"every interface counts where a node address is on none of them", settled, Desired{addrs("10.9.0.100"), addrs("10.0.0.9")}, []string{
			"write nftables table inet lb_agent: segments of at most 1360 bytes to 10.9.0.100",
		}},
		{"ARP settings that are as good stay, those that leak do not", with(func(s *State) {
			*s = settled
			s.Sysctls = maps.Clone(s.Sysctls)
			s.Sysctls["all/arp_ignore"], s.Sysctls["eth0/arp_ignore"] = "2", "3"
		}), Desired{addrs("10.9.0.100"), node}, []string{"set net/ipv4/conf/eth0/arp_ignore to 1 (is 3)"}},
		{"a table that is not as lb writes it", with(func(s *State) { *s = settled; s.Clamp = &MSSClamp{} }), Desired{addrs("10.9.0.100"), node}, []string{
			"write nftables table inet lb_agent: segments of at most 1440 bytes to 10.9.0.100",
		}},
		{"no virtual IP any more", settled, Desired{}, []string{
			"remove 10.9.0.100/32 from tunl0",
			"delete nftables table inet lb_agent",
			"set tunl0 down",
			"set net/ipv4/conf/all/arp_announce back to 0 (is 2)",
			"set net/ipv4/conf/all/arp_ignore back to 0 (is 1)",
			"set net/ipv4/conf/tunl0/rp_filter back to 0 (is 2)",
			"forget what the settings were",
		}},
		{"what others changed since stays", with(func(s *State) {
			*s = settled
			s.Device.InUse = true
			s.Sysctls = maps.Clone(s.Sysctls)
			s.Sysctls["all/arp_ignore"] = "8"
		}), Desired{}, []string{
			"remove 10.9.0.100/32 from tunl0",
			"delete nftables table inet lb_agent",
			"set net/ipv4/conf/all/arp_announce back to 0 (is 2)",
			"set net/ipv4/conf/tunl0/rp_filter back to 0 (is 2)",
			"forget what the settings were",
		}},
		{"nothing wanted, nothing there", bare(), Desired{}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			steps, err := Plan(tt.current, tt.want)
			if err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(tt.steps, words(steps)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestPlanSaysWhatItCannotBring(t *testing.T) {
	tests := []struct {
		name    string
		current State
		want    Desired
		error   string
		steps   int
	}{
		{"an IPv6 virtual IP beside another", bare(), Desired{VIPs: addrs("fd09::100", "10.9.0.100")}, "fd09::100: IPv6 virtual IPs are not yet supported", 6},
		{"only IPv6", bare(), Desired{VIPs: addrs("fd09::100")}, "fd09::100: IPv6 virtual IPs are not yet supported", 0},
		{"tunl0 is something else", with(func(s *State) { s.Device.Kind = "dummy" }), Desired{VIPs: addrs("10.9.0.100")}, "interface tunl0 is of kind dummy, not ipip", 0},
		{"no network", with(func(s *State) { s.Links = nil }), Desired{VIPs: addrs("10.9.0.100")}, "no interface but loopback and tunnel is up", 0},
		{"tiny packets", with(func(s *State) { s.Links[0].MTU = 60 }), Desired{VIPs: addrs("10.9.0.100")}, "interface eth0 carries packets of 60 bytes only", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			steps, err := Plan(tt.current, tt.want)
			if err == nil || !strings.Contains(err.Error(), tt.error) {
				t.Errorf("got %v, want %q", err, tt.error)
			}
			if len(steps) != tt.steps {
				t.Errorf("got %d steps, want %d: %q", len(steps), tt.steps, words(steps))
			}
		})
	}
	if _, err := Plan(bare(), Desired{VIPs: addrs("fd09::100")}); !errors.Is(err, ErrIPv6) {
		t.Errorf("%v is not ErrIPv6", err)
	}
}

func must(steps []Step, err error) []Step {
	if err != nil {
		panic(err)
	}
	return steps
}

// after is the machine that the steps leave behind, by the book.
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

func TestSecondPlanIsEmptyAndDownRestores(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		address := rapid.Custom(func(t *rapid.T) netip.Addr {
			return netip.AddrFrom4([4]byte{10, 9, 0, rapid.Byte().Draw(t, "last")})
		})
		start := bare()
		for _, key := range slices.Sorted(maps.Keys(start.Sysctls)) {
			start.Sysctls[key] = rapid.SampledFrom([]string{"0", "1", "2", "3"}).Draw(t, key)
		}
		start.Device.Up = rapid.Bool().Draw(t, "up")
		now := start
		for range rapid.IntRange(1, 4).Draw(t, "changes") {
			want := Desired{VIPs: rapid.SliceOfN(address, 1, 5).Draw(t, "vips")}
			now = after(now, must(Plan(now, want)))
			if again := must(Plan(now, want)); len(again) != 0 {
				t.Fatalf("a second plan is %q", words(again))
			}
			for _, v := range want.VIPs {
				if !slices.ContainsFunc(now.VIPs, func(a Address) bool { return a.Addr == v }) {
					t.Fatalf("%s is missing", v)
				}
			}
		}
		now = after(now, PlanDown(now))
		if again := PlanDown(now); len(again) != 0 {
			t.Fatalf("a second undoing is %q", words(again))
		}
		if diff := cmp.Diff(start, now, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Fatalf("not as it was: -was +is\n%s", diff)
		}
	})
}
