//go:build lab

package ipvs_test

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/braintree/lb/netx"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/ipvs/ipvstest"
)

// enterNewNamespace moves the calling goroutine, and the programs that it starts, into a new network namespace. The
// thread is never unlocked, so it ends with the test and takes the namespace with it.
func enterNewNamespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("new network namespace: %v", err)
	}
	// Without any local address the kernel takes every destination for a broadcast address and rejects it.
	run(t, "ip", "link", "set", "lo", "up")
}

func newKernel(t *testing.T) *ipvs.Kernel {
	t.Helper()
	k, err := ipvs.NewKernel()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

// run returns the command's output.
func run(t *testing.T, command ...string) string {
	t.Helper()
	out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
	return string(out)
}

func ipvsadm(t *testing.T, args string) string {
	t.Helper()
	return run(t, append([]string{"ipvsadm"}, strings.Fields(args)...)...)
}

func wantSaved(t *testing.T, lines ...string) {
	t.Helper()
	got := strings.Split(strings.TrimSpace(ipvsadm(t, "-Sn")), "\n")
	slices.Sort(got)
	slices.Sort(lines)
	if !slices.Equal(got, lines) {
		t.Fatalf("ipvsadm -Sn prints\n%s\nwanted\n%s", strings.Join(got, "\n"), strings.Join(lines, "\n"))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestKernelConformance(t *testing.T) {
	ipvstest.Run(t, func(t *testing.T) ipvs.Table {
		enterNewNamespace(t)
		return newKernel(t)
	})
}

func TestIpvsadmListsWhatWasPut(t *testing.T) {
	enterNewNamespace(t)
	k := newKernel(t)
	seven, eight := ipvs.Key{Mark: 7, Family: ipvs.IPv4}, ipvs.Key{Mark: 8, Family: ipvs.IPv6}
	must(t, ipvs.ApplyOne(t.Context(), k, ipvs.PutService(ipvs.Service{Key: seven, Scheduler: "wlc"})))
	must(t, ipvs.ApplyOne(t.Context(), k, ipvs.PutService(ipvs.Service{
		Key: eight, Scheduler: "mh", Flags: ipvs.Persistent | ipvs.SchedFallback | ipvs.SchedPort, Timeout: 90 * time.Second,
	})))
	wantSaved(t, "-A -f 7 -s wlc", "-A -f 8 -6 -s mh -p 90 -b mh-fallback,mh-port")

	for i, f := range []ipvs.Forwarding{ipvs.Masq, ipvs.Tunnel, ipvs.Route} {
		must(t, ipvs.ApplyOne(t.Context(), k, ipvs.PutDestination(seven, ipvs.Destination{
			Address: netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), Forwarding: f, Weight: ipvs.Weight(i),
		})))
	}
	must(t, ipvs.ApplyOne(t.Context(), k, ipvs.PutDestination(eight, ipvs.Destination{
		Address: netip.MustParseAddr("fd00::1"), Forwarding: ipvs.Tunnel, Weight: 65535, Upper: 10, Lower: 5,
	})))
	must(t, ipvs.ApplyOne(t.Context(), k, ipvs.PutDestination(seven, ipvs.Destination{
		Address: netip.MustParseAddr("10.0.0.2"), Forwarding: ipvs.Tunnel, Weight: 92,
	})))
	wantSaved(t,
		"-A -f 7 -s wlc",
		"-a -f 7 -r 10.0.0.1:0 -m -w 0",
		"-a -f 7 -r 10.0.0.2:0 -i -w 92 --tun-type ipip",
		"-a -f 7 -r 10.0.0.3:0 -g -w 2",
		"-A -f 8 -6 -s mh -p 90 -b mh-fallback,mh-port",
		"-a -f 8 -6 -r [fd00::1]:0 -i -w 65535 --tun-type ipip")
	// -S omits the thresholds.
	if limits := strings.Fields(ipvsadm(t, "-Ln --thresholds")); !contains(limits, "[fd00::1]:0", "10", "5") {
		t.Errorf("ipvsadm --thresholds prints %q", limits)
	}
}

// contains reports whether words contains these as consecutive elements.
func contains(words []string, these ...string) bool {
	for i := range words {
		if len(words)-i >= len(these) && slices.Equal(words[i:i+len(these)], these) {
			return true
		}
	}
	return false
}

func TestDumpReadsWhatIpvsadmAdded(t *testing.T) {
	enterNewNamespace(t)
	k := newKernel(t)
	ipvsadm(t, "-A -f 7 -s sh -p 120 -b sh-port -o")
	ipvsadm(t, "-a -f 7 -r 10.0.0.2 -i -w 100000")
	ipvsadm(t, "-a -f 7 -r 10.0.0.1 -i -w 3 --tun-type gue --tun-port 6080 --tun-nocsum")
	dump, err := k.Dump(t.Context())
	must(t, err)
	if len(dump) != 1 || len(dump[0].Destinations) != 2 {
		t.Fatalf("dump is %+v", dump)
	}
	s := dump[0]
	if s.Flags != ipvs.Persistent|ipvs.OnePacket|ipvs.SchedPort || s.Timeout != 2*time.Minute || s.Scheduler != "sh" {
		t.Errorf("service is %+v", s)
	}
	gue := ipvs.Destination{
		Address: netip.MustParseAddr("10.0.0.1"), Forwarding: ipvs.Tunnel, Weight: 3, Encap: ipvs.Encap{Type: ipvs.GUE, Port: 6080},
	}
	if s.Destinations[0] != gue {
		t.Errorf("first destination is %+v, wanted %+v", s.Destinations[0], gue)
	}
	if w := s.Destinations[1].Weight; w != 65535 {
		t.Errorf("weight 100000 reads as %d, wanted 65535", w)
	}

	// A new weight keeps the encapsulation that was read.
	gue.Weight = 4
	must(t, ipvs.ApplyOne(t.Context(), k, ipvs.PutDestination(s.Key, gue)))
	if saved := ipvsadm(t, "-Sn"); !strings.Contains(saved, "-a -f 7 -r 10.0.0.1:0 -i -w 4 --tun-type gue --tun-port 6080") {
		t.Errorf("ipvsadm -Sn prints\n%s", saved)
	}
}

func TestServicesSelectedByAddressAreNeverTouched(t *testing.T) {
	enterNewNamespace(t)
	k := newKernel(t)
	for _, args := range []string{
		"-A -t 10.9.9.9:80 -s wrr -p 300",
		"-a -t 10.9.9.9:80 -r 10.0.0.1:80 -i -w 17",
		"-a -t 10.9.9.9:80 -r 10.0.0.2:80 -m -w 0 -x 9 -y 3",
		"-A -u 10.9.9.9:53 -s rr -o",
		"-A -t [fd00::9]:443 -s sh -b sh-port",
		"-a -t [fd00::9]:443 -r [fd00::1]:443 -g -w 1",
		"-A --sctp-service 10.9.9.9:5060 -s lc",
	} {
		ipvsadm(t, args)
	}
	before := ipvsadm(t, "-Sn")
	timeouts := ipvsadm(t, "-L --timeout")

	if dump, err := k.Dump(t.Context()); err != nil || len(dump) != 0 {
		t.Fatalf("services selected by address are dumped: %+v, %v", dump, err)
	}
	for _, key := range []ipvs.Key{{Mark: 7, Family: ipvs.IPv4}, {Mark: 7, Family: ipvs.IPv6}} {
		d := ipvs.Destination{Address: netip.MustParseAddr("10.0.0.1"), Forwarding: ipvs.Tunnel, Weight: 5}
		must(t, ipvs.ApplyOne(t.Context(), k, ipvs.PutService(ipvs.Service{Key: key, Scheduler: "wlc"})))
		must(t, ipvs.ApplyOne(t.Context(), k, ipvs.PutDestination(key, d)))
		must(t, ipvs.ApplyOne(t.Context(), k, ipvs.PutService(ipvs.Service{Key: key, Scheduler: "wrr"})))
		must(t, ipvs.ApplyOne(t.Context(), k, ipvs.DeleteDestination(key, d.Address, 0)))
		must(t, ipvs.ApplyOne(t.Context(), k, ipvs.DeleteService(key)))
	}
	// Mark 0 would select one of them.
	if err := ipvs.ApplyOne(t.Context(), k, ipvs.DeleteService(ipvs.Key{Family: ipvs.IPv4})); !errors.Is(err, ipvs.ErrInvalid) {
		t.Errorf("delete mark 0: %v", err)
	}
	if after := ipvsadm(t, "-Sn"); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
	if after := ipvsadm(t, "-L --timeout"); after != timeouts {
		t.Errorf("timeouts before\n%s\nafter\n%s", timeouts, after)
	}
}

func TestEditsKeepConnectionsAndCounters(t *testing.T) {
	enterNewNamespace(t)
	k := newKernel(t)
	run(t, "ip", "address", "add", "10.1.1.1/32", "dev", "lo")
	run(t, "ip", "address", "add", "10.2.2.2/32", "dev", "lo")
	run(t, "nft", "add table ip client; add chain ip client output { type route hook output priority mangle; }; "+
		"add rule ip client output ip daddr 10.1.1.1 meta mark set 7")
	key := ipvs.Key{Mark: 7, Family: ipvs.IPv4}
	d := ipvs.Destination{Address: netip.MustParseAddr("10.2.2.2"), Forwarding: ipvs.Masq, Weight: 1}
	must(t, ipvs.ApplyOne(t.Context(), k, ipvs.PutService(ipvs.Service{Key: key, Scheduler: "wlc"})))
	must(t, ipvs.ApplyOne(t.Context(), k, ipvs.PutDestination(key, d)))

	listener, err := net.Listen("tcp", "10.2.2.2:8080")
	must(t, err)
	defer listener.Close()
	client, err := net.DialTimeout("tcp", "10.1.1.1:8080", 10*time.Second)
	must(t, err)
	defer client.Close()
	server, err := listener.Accept()
	must(t, err)
	defer server.Close()

	counted := func() (int, ipvs.Weight) {
		dump, err := k.Dump(t.Context())
		must(t, err)
		return dump[0].Destinations[0].ActiveConns, dump[0].Destinations[0].Weight
	}
	if active, _ := counted(); active != 1 {
		t.Fatalf("%d active connections, wanted 1", active)
	}
	d.Weight = 0
	must(t, ipvs.ApplyOne(t.Context(), k, ipvs.PutDestination(key, d)))
	must(t, ipvs.ApplyOne(t.Context(), k, ipvs.PutService(ipvs.Service{Key: key, Scheduler: "wrr"})))
	if active, weight := counted(); active != 1 || weight != 0 {
		t.Fatalf("after the edit %d active connections with weight %d, wanted 1 with 0", active, weight)
	}
	must(t, client.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = client.Write([]byte("still"))
	must(t, err)
	got := make([]byte, 5)
	_, err = server.Read(got)
	must(t, err)
	if string(got) != "still" {
		t.Errorf("the server read %q", got)
	}
}

func TestTheHandleStaysInTheNamespaceWhereItWasOpened(t *testing.T) {
	enterNewNamespace(t)
	k := newKernel(t)
	enterNewNamespace(t)
	must(t, ipvs.ApplyOne(t.Context(), k, ipvs.PutService(ipvs.Service{Key: ipvs.Key{Mark: 7, Family: ipvs.IPv4}, Scheduler: "wlc"})))
	must(t, ipvs.ApplyOne(t.Context(), k, ipvs.PutDestination(ipvs.Key{Mark: 7, Family: ipvs.IPv4}, ipvs.Destination{
		Address: netip.MustParseAddr("10.0.0.1"), Forwarding: ipvs.Tunnel,
	})))
	if here := ipvsadm(t, "-Sn"); here != "" {
		t.Errorf("the service was added in the namespace entered later:\n%s", here)
	}
	dump, err := k.Dump(t.Context())
	must(t, err)
	if len(dump) != 1 || len(dump[0].Destinations) != 1 {
		t.Errorf("the handle's namespace has %+v", dump)
	}
}

// dropNetAdmin permanently drops CAP_NET_ADMIN of the calling thread, which ends with the test.
func dropNetAdmin(t *testing.T) {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	must(t, unix.Capget(&header, &data[0]))
	for _, set := range []*uint32{&data[0].Effective, &data[0].Permitted, &data[0].Inheritable} {
		*set &^= 1 << unix.CAP_NET_ADMIN
	}
	must(t, unix.Capset(&header, &data[0]))
}

func TestEveryOperationReportsMissingPrivilege(t *testing.T) {
	enterNewNamespace(t)
	k := newKernel(t)
	key := ipvs.Key{Mark: 7, Family: ipvs.IPv4}
	d := ipvs.Destination{Address: netip.MustParseAddr("10.0.0.1"), Forwarding: ipvs.Tunnel}
	must(t, ipvs.ApplyOne(t.Context(), k, ipvs.PutService(ipvs.Service{Key: key, Scheduler: "wlc"})))
	must(t, ipvs.ApplyOne(t.Context(), k, ipvs.PutDestination(key, d)))

	dropNetAdmin(t)
	if _, err := ipvs.NewKernel(); !errors.Is(err, netx.ErrNoPrivilege) || errors.Is(err, netx.ErrNoIPVS) {
		t.Errorf("open: %v", err)
	}
	_, dumpErr := k.Dump(t.Context())
	_, readErr := k.Timeouts(t.Context())
	for name, err := range map[string]error{
		"dump":               dumpErr,
		"put service":        ipvs.ApplyOne(t.Context(), k, ipvs.PutService(ipvs.Service{Key: key, Scheduler: "rr"})),
		"delete service":     ipvs.ApplyOne(t.Context(), k, ipvs.DeleteService(key)),
		"delete missing":     ipvs.ApplyOne(t.Context(), k, ipvs.DeleteService(ipvs.Key{Mark: 8, Family: ipvs.IPv4})),
		"put destination":    ipvs.ApplyOne(t.Context(), k, ipvs.PutDestination(key, d)),
		"delete destination": ipvs.ApplyOne(t.Context(), k, ipvs.DeleteDestination(key, d.Address, 0)),
		"read timeouts":      readErr,
		"set timeouts":       k.SetTimeouts(t.Context(), ipvs.DefaultTimeouts()),
	} {
		if !errors.Is(err, netx.ErrNoPrivilege) || errors.Is(err, ipvs.ErrNoService) || errors.Is(err, ipvs.ErrNoDestination) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// moby/ipvs looks up modprobe in PATH and would complain on stderr if it is missing.
func TestOpeningWithoutModprobePrintsNothing(t *testing.T) {
	const child = "LB_TEST_OPEN_WITHOUT_MODPROBE"
	if os.Getenv(child) != "" {
		newKernel(t)
		return
	}
	c := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$")
	c.Env = []string{child + "=1", "PATH=/nonexistent"}
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, stderr.Bytes())
	}
	if stderr.Len() > 0 {
		t.Errorf("stderr has %q", stderr.String())
	}
}
