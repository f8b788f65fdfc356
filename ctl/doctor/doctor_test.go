package doctor

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/braintree/lb/agent/api"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/tunnel"
)

// lines prints findings as doctor does.
func lines(found []Finding) string {
	var b strings.Builder
	for _, f := range found {
		b.WriteString(f.String() + "\n")
	}
	return b.String()
}

func TestEveryPromiseNamesItsPageAndHeading(t *testing.T) {
	runbook, err := os.ReadFile("../../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range promises {
		page, heading, _ := strings.Cut(p.doc, ": ")
		text, err := os.ReadFile(filepath.Join("../../docs", page))
		if err != nil {
			t.Errorf("%s: %v", p.about, err)
		}
		if !strings.Contains(strings.ToLower(string(text)), "# "+strings.ToLower(heading)+"\n") {
			t.Errorf("%s: %s has no heading %q", p.about, page, heading)
		}
		if !strings.Contains(string(runbook), "| "+p.about+" | ") {
			t.Errorf("docs/runbook.md does not list %s", p.about)
		}
	}
}

func TestFindingsThatSayTheSameAreOne(t *testing.T) {
	loose := bad("the cable is loose", "packets are lost", "plug it in")
	merged := merge([]Finding{loose.of("eth0"), good("power is on"), loose.of("eth1"), loose.of("eth0")})
	if diff := cmp.Diff([]Finding{loose.of("eth0", "eth1"), good("power is on")}, merged); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	many := loose.of("1", "2", "3", "4", "5", "6", "7").String()
	if !strings.HasPrefix(many, "bad:  the cable is loose (1, 2, 3, 4, 5 and 2 more): ") {
		t.Error(many)
	}
}

func TestWhatCannotBeExaminedIsUnknown(t *testing.T) {
	defer func(saved []promise) { promises = saved }(promises)
	promises = []promise{
		{"the cable", "", balancer, func(context.Context, *Machine) ([]Finding, error) { return nil, fs.ErrPermission }},
		{"the mast", "", tunnelled, func(context.Context, *Machine) ([]Finding, error) { return nil, errors.New("no role") }},
	}
	found, err := Examine(t.Context(), &Machine{roles: balancer})
	const want = "unknown: the cable: permission denied\n  → run this command as root\n"
	if got := lines(found); got != want || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestDoctorExaminesIPVSSettings(t *testing.T) {
	dir := t.TempDir()
	for name, value := range map[string]string{"expire_nodest_conn": "0\n", "conntrack": "0\n", "backup_only": "0\n"} {
		name = filepath.Join(dir, "net/ipv4/vs", name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const want = "bad:  net.ipv4.vs.expire_nodest_conn is 0, not 1: " +
		`a client that reuses a port within two minutes still reaches a node at weight 0
  → ` + "`sysctl -w net.ipv4.vs.expire_nodest_conn=1`" + `, or balancer.set_sysctls = true
good: net.ipv4.vs.conntrack is 0
good: net.ipv4.vs.backup_only is 0
`
	if diff := cmp.Diff(want, lines(examineIPVS(ipvs.SysctlDir(dir), ipvs.Features{Sync: true}))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if found := examineIPVS(ipvs.SysctlDir(filepath.Join(dir, "none")), ipvs.Features{}); len(found) != 1 || found[0].Good ||
		!strings.Contains(found[0].Fix, "modprobe ip_vs") {
		t.Errorf("without IPVS: %+v", found)
	}
}

func TestDoctorExaminesTheTunnel(t *testing.T) {
	want := tunnel.Desired{VIPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	set := tunnel.State{
		Device: tunnel.Device{Kind: "ipip", Up: true}, VIPs: []tunnel.Address{{Addr: want.VIPs[0], Managed: true}},
		Links:   []tunnel.Link{{Name: "eth0", MTU: 1500, Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}},
		Sysctls: map[string]string{"all/arp_ignore": "1", "all/arp_announce": "2", "tunl0/rp_filter": "2"},
		Clamp:   &tunnel.MSSClamp{VIPs: want.VIPs, MSS: 1440},
	}
	if found := examineTunnel(set, want); len(found) != 1 || !found[0].Good {
		t.Errorf("all good: %+v", found)
	}
	wrong := set
	wrong.Device.Up, wrong.VIPs = false, nil
	if found := examineTunnel(wrong, want); len(found) != 1 ||
		found[0].What != "the tunnel is not fully set up; missing: set tunl0 up; add 192.0.2.1/32 to tunl0" {
		t.Errorf("one finding with one fix: %+v", found)
	}
	wrong.Device.Kind = "sit"
	if found := examineTunnel(wrong, want); len(found) != 1 || found[0].Good || !strings.Contains(found[0].Why, "type sit") {
		t.Errorf("%+v", found)
	}
}

func TestDoctorExaminesATunnelOfOthers(t *testing.T) {
	want := tunnel.Desired{VIPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	state := tunnel.State{
		Tunnels: []tunnel.Tunnel{{Name: "toload", Kind: "ipip", Up: true}}, Addresses: want.VIPs,
		Sysctls: map[string]string{"all/arp_ignore": "1"}, Clamp: &tunnel.MSSClamp{VIPs: want.VIPs, MSS: 1440},
	}
	if found := examineForeignTunnel(state, want); len(found) != 1 || !found[0].Good {
		t.Errorf("all good: %+v", found)
	}
	state.Tunnels[0].Up, state.Clamp = false, nil
	found := lines(examineForeignTunnel(state, want))
	for _, words := range []string{
		"bad:  the tunnel that others set up: toload is down (192.0.2.1): ", "lb_agent is missing", "instead of watch_only; ignore it if",
	} {
		if !strings.Contains(found, words) {
			t.Errorf("no %q in\n%s", words, found)
		}
	}
}

func TestDoctorExaminesTheAgentsWatch(t *testing.T) {
	faulty := &api.Tunnel{Faults: []api.TunnelFault{
		{Text: "another program keeps changing the tunnel: tunl0 is down", VIPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}},
	}}
	for _, tt := range []struct {
		name    string
		watched *api.Tunnel
		right   bool
		want    string // the beginning
	}{
		{"all is right", &api.Tunnel{}, true, ""},
		{"right at the moment", faulty, true, "bad:  another program keeps changing the tunnel: tunl0 is down (192.0.2.1): "},
		{"already found", faulty, false, ""},
		{"not watched", nil, true, "bad:  lb agent does not watch the tunnel: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := lines(examineWatch(tt.watched, tt.right))
			if tt.want == "" && got != "" || !strings.HasPrefix(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}
