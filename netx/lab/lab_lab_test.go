//go:build lab

package lab_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/braintree/lb/netx/lab"
	"github.com/braintree/lb/netx/lab/labtest"
)

// timeout is generous: what takes milliseconds on a real processor is slow on an emulated one.
const timeout = 60 * time.Second

// ownerEnv makes the test binary build a lab and wait to be killed.
const ownerEnv = "LB_LAB_OWNER"

func TestMain(m *testing.M) {
	if os.Getenv(ownerEnv) != "" {
		fmt.Fprintln(os.Stderr, runOwner(os.Getenv(ownerEnv)))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// twoHosts builds two hosts on one switch.
func twoHosts(t *testing.T) (one, two *lab.Host) {
	t.Helper()
	l := labtest.New(t)
	s := labtest.Switch(t, l, "lan")
	one = labtest.Host(t, l, s, "one", "10.9.0.1/24", "fd09::1/64")
	two = labtest.Host(t, l, s, "two", "10.9.0.2/24", "fd09::2/64")
	return one, two
}

// serveText sends a text on each connection to the listener, until the test ends.
func serveText(t *testing.T, l net.Listener, text string) {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, text)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
}

// fetch connects from a host and reads until the connection is closed.
func fetch(ctx context.Context, h *lab.Host, network, address string) (string, error) {
	c, err := h.Dial(ctx, network, address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	data, err := io.ReadAll(c)
	return string(data), err
}

func TestHostsReachEachOther(t *testing.T) {
	one, two := twoHosts(t)
	for _, address := range []string{"10.9.0.2:80", "[fd09::2]:80"} {
		t.Run(address, func(t *testing.T) {
			l, err := two.Listen(t.Context(), "tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			serveText(t, l, "hello")
			got, err := fetch(t.Context(), one, "tcp", address)
			if err != nil || got != "hello" {
				t.Errorf("fetched %q, %v; want hello", got, err)
			}
		})
	}
}

func TestListenersAreIsolatedPerHost(t *testing.T) {
	one, two := twoHosts(t)
	for _, h := range []*lab.Host{one, two} {
		tcp, err := h.Listen(t.Context(), "tcp", ":8080")
		if err != nil {
			t.Fatal(err)
		}
		serveText(t, tcp, h.Name())
		local, err := h.Listen(t.Context(), "unix", "/run/lb/test.sock")
		if err != nil {
			t.Fatal(err)
		}
		serveText(t, local, h.Name()+" locally")
	}
	for _, h := range []*lab.Host{one, two} {
		if got, err := fetch(t.Context(), h, "tcp", "127.0.0.1:8080"); err != nil || got != h.Name() {
			t.Errorf("%s fetched %q, %v from its loopback", h.Name(), got, err)
		}
		if got, err := fetch(t.Context(), h, "unix", "/run/lb/test.sock"); err != nil || got != h.Name()+" locally" {
			t.Errorf("%s fetched %q, %v from its Unix socket", h.Name(), got, err)
		}
	}
	if _, err := os.Stat("/run/lb/test.sock"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a host's socket is visible on the machine: %v", err)
	}
}

func TestUDPPacketsArrive(t *testing.T) {
	one, two := twoHosts(t)
	c, err := two.ListenPacket(t.Context(), "udp", "10.9.0.2:53")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		t.Fatal(err)
	}
	d, err := one.Dial(t.Context(), "udp", "10.9.0.2:53")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Write([]byte("ask")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 9)
	n, from, err := c.ReadFrom(buf)
	if err != nil || string(buf[:n]) != "ask" || !strings.HasPrefix(from.String(), "10.9.0.1:") {
		t.Errorf("read %q from %v, %v", buf[:n], from, err)
	}
}

func TestUnplugDisconnectsAndPlugReconnects(t *testing.T) {
	one, two := twoHosts(t)
	l, err := two.Listen(t.Context(), "tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	serveText(t, l, "hello")
	if err := two.Unplug(); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, timeout, "two has no carrier", func() (bool, string) {
		carrier, err := two.ReadFile("/sys/class/net/eth0/carrier")
		return string(carrier) == "0\n", fmt.Sprintf("%q, %v", carrier, err)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if got, err := fetch(ctx, one, "tcp", "10.9.0.2:80"); err == nil {
		t.Fatalf("an unplugged host responded with %q", got)
	}
	if err := two.Plug(); err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{"10.9.0.2:80", "[fd09::2]:80"} {
		labtest.Eventually(t, timeout, address+" responds again", func() (bool, string) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			got, err := fetch(ctx, one, "tcp", address)
			return got == "hello", fmt.Sprintf("%q, %v", got, err)
		})
	}
}

func TestLinkUpRestoresAddressesAndRoutes(t *testing.T) {
	one, _ := twoHosts(t)
	if err := one.Route(netip.MustParsePrefix("192.0.2.0/24"), netip.MustParseAddr("10.9.0.2")); err != nil {
		t.Fatal(err)
	}
	before := labtest.Run(t, one, "ip", "route")
	if !strings.Contains(before, "192.0.2.0/24 via 10.9.0.2 dev eth0") {
		t.Fatalf("routes: %s", before)
	}
	if err := one.LinkDown("eth0"); err != nil {
		t.Fatal(err)
	}
	if down := labtest.Run(t, one, "ip", "route"); strings.Contains(down, "192.0.2.0/24") {
		t.Fatalf("the route exists although the link is down: %s", down)
	}
	if err := one.LinkUp("eth0"); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, timeout, "the routes are back", func() (bool, string) {
		after := labtest.Run(t, one, "ip", "route")
		return after == before, after
	})
	addrs := labtest.Run(t, one, "ip", "addr", "show", "eth0")
	if !strings.Contains(addrs, "fd09::1/64") || !strings.Contains(addrs, "10.9.0.1/24") {
		t.Errorf("addresses: %s", addrs)
	}
}

func TestHostRoutesBetweenSwitches(t *testing.T) {
	l := labtest.New(t)
	left, right := labtest.Switch(t, l, "left"), labtest.Switch(t, l, "right")
	router, err := l.Host("router",
		lab.Link{Switch: left, Interface: "left0", Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.0.254/24")}},
		lab.Link{Switch: right, Interface: "right0", Addresses: []netip.Prefix{netip.MustParsePrefix("10.2.0.254/24")}})
	if err != nil {
		t.Fatal(err)
	}
	a := labtest.Host(t, l, left, "a", "10.1.0.1/24")
	b := labtest.Host(t, l, right, "b", "10.2.0.1/24")
	if err := router.Sysctl("net.ipv4.ip_forward", "1"); err != nil {
		t.Fatal(err)
	}
	all := netip.MustParsePrefix("0.0.0.0/0")
	if err := errors.Join(a.Route(all, netip.MustParseAddr("10.1.0.254")), b.Route(all, netip.MustParseAddr("10.2.0.254"))); err != nil {
		t.Fatal(err)
	}
	ln, err := b.Listen(t.Context(), "tcp", "10.2.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	serveText(t, ln, "far")
	if got, err := fetch(t.Context(), a, "tcp", "10.2.0.1:80"); err != nil || got != "far" {
		t.Errorf("fetched %q, %v", got, err)
	}
}

func TestBlockedFunctionDoesNotBlockTheHost(t *testing.T) {
	one, _ := twoHosts(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	dialing := make(chan struct{})
	go func() {
		ended <- one.Do(func() error {
			close(dialing)
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	<-dialing
	if _, err := one.ReadFile("/proc/sys/kernel/hostname"); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestFunctionThatDoesNotReturnGivesAnError(t *testing.T) {
	one, _ := twoHosts(t)
	var inner testing.T
	if err := one.Do(func() error { inner.FailNow(); return nil }); err == nil {
		t.Error("no error from a function that did not return")
	}
	if err := one.Do(func() error { return nil }); err != nil {
		t.Errorf("the host is unusable afterwards: %v", err)
	}
}

func TestDialRejectsHostNames(t *testing.T) {
	one, _ := twoHosts(t)
	if _, err := one.Dial(t.Context(), "tcp", "localhost:80"); err == nil || !strings.Contains(err.Error(), "want an IP address") {
		t.Errorf("got %v", err)
	}
}

func TestProcessMainThreadStaysOutside(t *testing.T) {
	// The main thread must keep the machine's namespaces whatever threads the runtime picks: it could never leave a host's.
	want := namespace(t, "/proc/self/ns/net")
	l := labtest.New(t)
	for i := range 8 {
		labtest.Host(t, l, labtest.Switch(t, l, "lan"), fmt.Sprintf("h%d", i))
	}
	if got := namespace(t, "/proc/self/ns/net"); got != want {
		t.Errorf("the main thread is in %s, not %s", got, want)
	}
}

func namespace(t *testing.T, path string) string {
	t.Helper()
	ns, err := os.Readlink(path)
	if err != nil {
		t.Fatal(err)
	}
	return ns
}

func TestTwentyHostsStartQuickly(t *testing.T) {
	l := labtest.New(t)
	s := labtest.Switch(t, l, "lan")
	started := time.Now()
	var hosts []*lab.Host
	for i := range 20 {
		hosts = append(hosts, labtest.Host(t, l, s, fmt.Sprintf("app%02d", i), fmt.Sprintf("10.9.0.%d/24", i+1)))
	}
	took := time.Since(started)
	t.Logf("20 hosts took %v", took)
	if took > timeout {
		t.Errorf("20 hosts took %v, more than %v", took, timeout)
	}
	ln, err := hosts[19].Listen(t.Context(), "tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	serveText(t, ln, "last")
	if got, err := fetch(t.Context(), hosts[0], "tcp", "10.9.0.20:80"); err != nil || got != "last" {
		t.Errorf("fetched %q, %v", got, err)
	}
}
