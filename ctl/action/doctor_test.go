package action

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/tunnel"
)

func TestDoctorExaminesIPVSSettings(t *testing.T) {
	dir := t.TempDir()
	for name, value := range map[string]string{"expire_nodest_conn": "0\n", "conntrack": "0\n", "backup_only": "0\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	found := examineIPVS(ipvs.SysctlDir(dir), ipvs.Features{Sync: true})
	var out bytes.Buffer
	if err := printDiagnoses(&out, found, Format{}); !errors.Is(err, ErrUnsafeKernel) {
		t.Errorf("%v", err)
	}
	const want = "bad:  net.ipv4.vs.expire_nodest_conn is 0, not 1: " +
		`a client that reuses a port within two minutes still reaches a node at weight 0
  → ` + "`sysctl -w net.ipv4.vs.expire_nodest_conn=1`" + `, or balancer.set_sysctls = true
good: net.ipv4.vs.conntrack is 0
good: net.ipv4.vs.backup_only is 0
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := os.WriteFile(filepath.Join(dir, "expire_nodest_conn"), []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := printDiagnoses(&out, examineIPVS(ipvs.SysctlDir(dir), ipvs.Features{Sync: true}), Format{}); err != nil {
		t.Errorf("all good: %v", err)
	}
	if found := examineIPVS(ipvs.SysctlDir(filepath.Join(dir, "none")), ipvs.Features{}); len(found) != 1 || found[0].Good ||
		!strings.Contains(found[0].Fix, "modprobe ip_vs") {
		t.Errorf("without IPVS: %+v", found)
	}
}

func TestDoctorExaminesTheTunnel(t *testing.T) {
	want := tunnel.Desired{VIPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	good := tunnel.State{
		Device: tunnel.Device{Kind: "ipip", Up: true}, VIPs: []tunnel.Address{{Addr: want.VIPs[0], Managed: true}},
		Links:   []tunnel.Link{{Name: "eth0", MTU: 1500, Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}},
		Sysctls: map[string]string{"all/arp_ignore": "1", "all/arp_announce": "2", "tunl0/rp_filter": "2"},
		Clamp:   &tunnel.MSSClamp{VIPs: want.VIPs, MSS: 1440},
	}
	if found := examineTunnel(good, want); len(found) != 1 || !found[0].Good {
		t.Errorf("all good: %+v", found)
	}
	bad := good
	bad.Device.Up, bad.VIPs = false, nil
	found := examineTunnel(bad, want)
	var out bytes.Buffer
	if err := printDiagnoses(&out, found, Format{JSON: true}); !errors.Is(err, ErrUnsafeKernel) {
		t.Errorf("%v", err)
	}
	var back []diagnosis
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || len(back) != 2 ||
		back[0].What != "the tunnel is not fully set up; missing: set tunl0 up" ||
		back[1].What != "the tunnel is not fully set up; missing: add 192.0.2.1/32 to tunl0" {
		t.Errorf("%v, %s", err, &out)
	}
	bad.Device.Kind = "sit"
	if found := examineTunnel(bad, want); len(found) != 1 || found[0].Good || !strings.Contains(found[0].Why, "type sit") {
		t.Errorf("%+v", found)
	}
}
