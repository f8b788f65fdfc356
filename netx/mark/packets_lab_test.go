//go:build lab

package mark_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/braintree/lb/netx/mark"
)

// client is a simulated host: a thread in another network namespace, joined to the test's by two veth pairs, c0–eth10
// and c1–eth11.
type client struct {
	t      testing.TB
	thread int
	jobs   chan func()
	ended  chan struct{}
}

// newClient builds the client, with routes to 204.109.13.7 and fd00::7 over each pair.
func newClient(t testing.TB) *client {
	t.Helper()
	enterNewNamespace(t)
	c := &client{t: t, jobs: make(chan func()), ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		defer close(c.ended)
		runtime.LockOSThread() // never unlocked: the thread and its namespace end
		c.thread = unix.Gettid()
		started <- unix.Unshare(unix.CLONE_NEWNET)
		for job := range c.jobs {
			job()
		}
	}()
	must(t, <-started)
	t.Cleanup(func() { close(c.jobs); <-c.ended })
	for i := range 2 {
		near, far := fmt.Sprintf("eth1%d", i), fmt.Sprintf("c%d", i)
		run(t, "ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", strconv.Itoa(c.thread))
		run(t, "ip", "address", "add", fmt.Sprintf("10.1.%d.1/24", i), "dev", near)
		run(t, "ip", "address", "add", fmt.Sprintf("fd01:%d::1/64", i), "dev", near, "nodad")
		run(t, "ip", "link", "set", near, "up")
		c.do(func() {
			run(t, "ip", "address", "add", fmt.Sprintf("10.1.%d.2/24", i), "dev", far)
			run(t, "ip", "address", "add", fmt.Sprintf("fd01:%d::2/64", i), "dev", far, "nodad")
			run(t, "ip", "link", "set", far, "up")
			run(t, "ip", "route", "add", "204.109.13.7", "via", fmt.Sprintf("10.1.%d.1", i), "dev", far, "metric", strconv.Itoa(i+1))
			run(t, "ip", "route", "add", "fd00::7", "via", fmt.Sprintf("fd01:%d::1", i), "dev", far, "metric", strconv.Itoa(i+1))
		})
	}
	return c
}

// do runs f in the client's namespace. If f fails the test, do ends it.
func (c *client) do(f func()) {
	done := make(chan struct{})
	select {
	case c.jobs <- func() { defer close(done); f() }:
		<-done
	case <-c.ended:
	}
	if c.t.Failed() {
		c.t.FailNow()
	}
}

// dial opens a raw socket to address that sends through device. It stays in the client's namespace wherever it is used.
func (c *client) dial(t testing.TB, address, protocol, device string) net.Conn {
	t.Helper()
	network := "ip4:"
	if netip.MustParseAddr(address).Is6() {
		network = "ip6:"
	}
	network += map[string]string{"tcp": "6", "udp": "17", "sctp": "132", "dccp": "33"}[protocol]
	var conn net.Conn
	var err error
	c.do(func() {
		d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
			var failed error
			if err := raw.Control(func(fd uintptr) { failed = unix.BindToDevice(int(fd), device) }); err != nil {
				return err
			}
			return failed
		}}
		conn, err = d.DialContext(t.Context(), network, address)
	})
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// packet is a header that starts with the ports in any of the protocols.
func packet(port uint16) []byte {
	p := make([]byte, 20)
	binary.BigEndian.PutUint16(p, 40000)
	binary.BigEndian.PutUint16(p[2:], port)
	binary.BigEndian.PutUint16(p[4:], 20) // the length in UDP
	p[12] = 5 << 4                        // the data offset in TCP
	return p
}

// addCounters counts packets after lb's chain by mark.
func addCounters(t *testing.T, marks ...string) {
	t.Helper()
	commands := []string{
		"add table inet check",
		"add chain inet check c { type filter hook prerouting priority mangle + 1; }",
	}
	for _, m := range marks {
		commands = append(commands, "add counter inet check m"+m,
			fmt.Sprintf("add rule inet check c %s meta mark %s counter name m%s", sentByUs, m, m))
	}
	run(t, "nft", strings.Join(commands, "\n"))
}

// sentByUs excludes packets that IPv6 sends on its own.
const sentByUs = "th sport 40000"

func readCounter(t *testing.T, name string) int {
	t.Helper()
	words := strings.Fields(run(t, "nft", "list", "counter", "inet", "check", name))
	for i, w := range words {
		if w == "packets" {
			n, err := strconv.Atoi(words[i+1])
			must(t, err)
			return n
		}
	}
	t.Fatalf("nft lists a counter as %q", words)
	return 0
}

// eventually reads the counter until it reaches n.
func eventually(t *testing.T, name string, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for got := readCounter(t, name); got != n; got = readCounter(t, name) {
		if ctx.Err() != nil || got > n {
			t.Fatalf("%d packets of counter %s, wanted %d", got, name, n)
		}
	}
}

func TestPacketsAreMarked(t *testing.T) {
	c := newClient(t)
	k := newKernel(t)
	addCounters(t, "0", "7", "8", "9", "4294967295")
	var rules []mark.Rule
	for _, address := range []string{"204.109.13.7", "fd00::7"} {
		rules = append(rules,
			rule(address, "tcp", 443, "", 7),
			rule(address, "tcp", 443, "eth11", 8),
			rule(address, "udp", 443, "", 9),
			rule(address, "sctp", 443, "", 4294967295),
			rule(address, "tcp", 80, "eth11", 8),
			rule(address, "tcp", 8080, "eth1", 9)) // a prefix of two interface names, but no name itself
	}
	must(t, k.Set(t.Context(), rules))

	seen := map[string]int{}
	for _, address := range []string{"204.109.13.7", "fd00::7"} {
		for _, p := range []struct {
			protocol string
			port     uint16
			device   string
			mark     string
		}{
			{"tcp", 443, "c0", "7"},
			{"tcp", 443, "c1", "8"}, // the rule with the interface takes precedence
			{"udp", 443, "c0", "9"},
			{"udp", 443, "c1", "9"},
			{"sctp", 443, "c0", "4294967295"},
			{"tcp", 80, "c1", "8"},
			{"tcp", 80, "c0", "0"},
			{"tcp", 8080, "c0", "0"},
			{"tcp", 444, "c0", "0"},
			{"udp", 80, "c1", "0"},
			{"dccp", 443, "c0", "0"},
		} {
			if _, err := c.dial(t, address, p.protocol, p.device).Write(packet(p.port)); err != nil {
				t.Fatalf("%s to %s by %s: %v", p.protocol, address, p.device, err)
			}
			seen[p.mark]++
			eventually(t, "m"+p.mark, seen[p.mark])
		}
	}
	for m, n := range seen {
		eventually(t, "m"+m, n)
	}
}

func TestPacketsStayMarkedWhileRulesChange(t *testing.T) {
	c := newClient(t)
	k := newKernel(t)
	stays := []mark.Rule{rule("204.109.13.7", "udp", 443, "", 7), rule("fd00::7", "udp", 443, "eth10", 7)}
	must(t, k.Set(t.Context(), stays))
	run(t, "nft", "add table inet check\n"+
		"add chain inet check c { type filter hook prerouting priority mangle + 1; }\n"+
		"add counter inet check marked\nadd counter inet check lost\n"+
		"add rule inet check c "+sentByUs+" meta mark 7 counter name marked\n"+
		"add rule inet check c "+sentByUs+" meta mark != 7 counter name lost")

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	flooded := make(chan error, 2)
	for _, r := range stays {
		conn := c.dial(t, r.Address.String(), r.Protocol, "c0")
		go func() {
			for ctx.Err() == nil {
				// A full queue does not matter here.
				if _, err := conn.Write(packet(r.Port)); err != nil && !strings.Contains(err.Error(), "buffer") {
					flooded <- err
					return
				}
			}
			flooded <- nil
		}()
	}
	for i := range 60 {
		must(t, k.Set(t.Context(), append(manyRules(40*(i%3)), stays...)))
		if i%4 == 3 { // forces a rebuild of the table
			run(t, "nft", "add rule inet lb prerouting counter")
		}
	}
	stop()
	for range stays {
		must(t, <-flooded)
	}
	// Linux 6.1 itself was seen to miss an element once in 200,000 lookups while its map grows. Removing a rule or map
	// during a change would lose thousands of packets.
	const most = 20_000
	if lost, marked := readCounter(t, "lost"), readCounter(t, "marked"); lost*most > marked || marked < 1000 {
		t.Errorf("%d packets had the mark and %d had not; wanted at least 1000, and at most one in %d without", marked, lost, most)
	}
}
