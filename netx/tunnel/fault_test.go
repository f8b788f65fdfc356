package tunnel

import (
	"maps"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestFaultsNameWhatIsWrongAndWhoseItIs(t *testing.T) {
	desired := Desired{addrs("10.9.0.100", "10.9.0.101", "fd09::100"), addrs("10.0.0.1", "fd00::1")}
	good := after(freshState(), must(Plan(freshState(), desired)))
	v4, v6 := addrs("10.9.0.100", "10.9.0.101"), addrs("fd09::100")
	for _, tt := range []struct {
		name   string
		damage func(*State)
		want   []Fault
	}{
		{"nothing", func(*State) {}, nil},
		{"IPv4 device down", func(s *State) { s.Device.Up = false }, []Fault{{"tunl0 is down", v4}}},
		{"IPv6 device down", func(s *State) { s.Device6.Up = false }, []Fault{{"ip6tnl0 is down", v6}}},
		{"IPv6 device gone", func(s *State) { s.Device6 = Device{} },
			[]Fault{{"ip6tnl0 does not exist", v6}, {"ip6tnl0 is down", v6}}},
		{"a virtual IP gone", func(s *State) { s.VIPs = s.VIPs[1:] }, []Fault{{"10.9.0.100 is not on tunl0", v4[:1]}}},
		{"rp_filter", func(s *State) { s.Sysctls["tunl0/rp_filter"] = "1" },
			[]Fault{{"net/ipv4/conf/tunl0/rp_filter is 1, not 2", v4}}},
		{"the table gone", func(s *State) { s.Clamp = nil },
			[]Fault{{"nftables table inet lb_agent is missing or changed, so uploads may hang", append(addrs(), desired.VIPs...)}}},
		{"a name taken", func(s *State) { s.Device6.Kind = "sit" },
			[]Fault{
				{"interface ip6tnl0 has type sit, not ip6tnl: rename it, since lb needs that name", v6},
				{"nftables table inet lb_agent is missing or changed, so uploads may hang", append(addrs(), desired.VIPs...)},
			}},
		{"an address of lb's too many", func(s *State) { s.VIPs = append(s.VIPs, Address{addrs("10.9.0.102")[0], true}) }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			current := good
			current.Sysctls = maps.Clone(good.Sysctls)
			tt.damage(&current)
			if d := cmp.Diff(tt.want, Faults(current, desired), cmpopts.EquateComparable(netip.Addr{})); d != "" {
				t.Error(d)
			}
		})
	}
	if faults := Faults(good, Desired{}); faults != nil {
		t.Errorf("nothing desired: %v", faults)
	}
}

func TestForeignFaults(t *testing.T) {
	desired := Desired{VIPs: addrs("10.9.0.100", "fd09::100")}
	good := State{
		Tunnels:   []Tunnel{{"sit9", "ipip", false}, {"toload", "ipip", true}, {"ip6tnl0", "ip6tnl", true}},
		Addresses: addrs("10.0.0.1", "10.9.0.100", "fd09::100"),
		Links:     []Link{{"eth0", 1500, addrs("10.0.0.1")}},
		Sysctls: map[string]string{
			"all/arp_ignore": "0", "eth0/arp_ignore": "1", "toload/arp_ignore": "0", "all/rp_filter": "1", "toload/rp_filter": "2",
		},
		Clamp: &MSSClamp{VIPs: desired.VIPs, MSS: 1440, MSS6: 1400},
	}
	v4, v6 := addrs("10.9.0.100"), addrs("fd09::100")
	for _, tt := range []struct {
		name      string
		damage    func(*State)
		want, may []Fault
	}{
		{"nothing", func(*State) {}, nil, nil},
		{"down", func(s *State) { s.Tunnels = []Tunnel{{"toload", "ipip", false}, {"ip6tnl0", "ip6tnl", true}} },
			[]Fault{{"toload is down", v4}}, nil},
		{"gone", func(s *State) { s.Tunnels = s.Tunnels[:2] }, []Fault{{"no ip6tnl interface exists", v6}}, nil},
		{"strict filter", func(s *State) { s.Sysctls["toload/rp_filter"] = "0" },
			[]Fault{{"rp_filter of toload is 1, so the kernel drops clients' packets: set net/ipv4/conf/toload/rp_filter to 2", v4}}, nil},
		{"virtual IP gone", func(s *State) { s.Addresses = s.Addresses[:2] }, []Fault{{"fd09::100 is on no interface", v6}}, nil},
		{"ARP", func(s *State) { s.Sysctls["eth0/arp_ignore"] = "0" }, nil,
			[]Fault{{"arp_ignore of eth0 is 0, so this machine responds to ARP requests for virtual IPs", v4}}},
		{"MSS", func(s *State) { s.Clamp = nil }, nil,
			[]Fault{{"nftables table inet lb_agent is missing or changed, so uploads may hang", desired.VIPs}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			current := good
			current.Sysctls = maps.Clone(good.Sysctls)
			tt.damage(&current)
			faults, suspected := ForeignFaults(current, desired)
			if d := cmp.Diff(tt.want, faults, cmpopts.EquateComparable(netip.Addr{})); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(tt.may, suspected, cmpopts.EquateComparable(netip.Addr{})); d != "" {
				t.Error(d)
			}
		})
	}
}
