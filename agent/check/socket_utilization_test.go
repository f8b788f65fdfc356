package check

import (
	"context"
	"encoding/hex"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// queue is a listening socket that accepts only when accept is called. Its queue is real, and full at backlog
// + 1 connections.
type queue struct {
	t    *testing.T
	fd   int
	dial func() (net.Conn, error)
}

// tcpQueue listens at a TCP address and returns it with its port. Port 0 is any free port.
func tcpQueue(t *testing.T, address string, backlog int) (*queue, netip.AddrPort) {
	t.Helper()
	at := netip.MustParseAddrPort(address)
	family, bind := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()})
	if at.Addr().Is4() {
		family, bind = unix.AF_INET, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
	}
	q := listenOn(t, family, bind, backlog)
	name, err := unix.Getsockname(q.fd)
	if err != nil {
		t.Fatal(err)
	}
	port := 0
	switch name := name.(type) {
	case *unix.SockaddrInet4:
		port = name.Port
	case *unix.SockaddrInet6:
		port = name.Port
	}
	q.dial = func() (net.Conn, error) { return net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port)) }
	return q, netip.AddrPortFrom(at.Addr(), uint16(port))
}

func unixQueue(t *testing.T, path string, backlog int) *queue {
	t.Helper()
	q := listenOn(t, unix.AF_UNIX, &unix.SockaddrUnix{Name: path}, backlog)
	q.dial = func() (net.Conn, error) { return net.Dial("unix", path) }
	return q
}

func listenOn(t *testing.T, family int, bind unix.Sockaddr, backlog int) *queue {
	t.Helper()
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if family == unix.AF_INET6 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Bind(fd, bind); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, backlog); err != nil {
		t.Fatal(err)
	}
	return &queue{t: t, fd: fd}
}

// connect opens n connections, which wait in the queue.
func (q *queue) connect(n int) {
	q.t.Helper()
	for range n {
		c, err := q.dial()
		if err != nil {
			q.t.Fatal(err)
		}
		q.t.Cleanup(func() { c.Close() })
	}
}

// accept accepts n connections.
func (q *queue) accept(n int) {
	q.t.Helper()
	for range n {
		fd, _, err := unix.Accept(q.fd)
		if err != nil {
			q.t.Fatal(err)
		}
		q.t.Cleanup(func() { unix.Close(fd) })
	}
}

// wantUse runs a check with weight 90 and maxconn 10 once and compares its result.
func wantUse(t *testing.T, c Check, active, queued int, value float64) {
	t.Helper()
	r := c.Run(t.Context())
	want(t, r, true, fmt.Sprintf("%d queued, %d active, maxconn 10", queued, active))
	if math.Abs(r.Value-value) > 1e-9 {
		t.Errorf("value %v, want %v", r.Value, value)
	}
	wanted := []Sample{{"socket_active", float64(active)}, {"socket_queued", float64(queued)}, {"socket_utilization", float64(queued * 10)}}
	if fmt.Sprint(r.Samples) != fmt.Sprint(wanted) {
		t.Errorf("samples %v, want %v", r.Samples, wanted)
	}
	if shown := fmt.Sprintf("(weight: 90, maxconn: 10, active: %d, queued: %d, utilization: %d, ", active, queued,
		queued*10); !strings.Contains(r.Shown, shown) {
		t.Errorf("%q shows no %q", r.Shown, shown)
	}
}

func TestRealListenQueues(t *testing.T) {
	tcp, address := tcpQueue(t, "127.0.0.1:0", 5)
	path := filepath.Join(t.TempDir(), "s")
	local := unixQueue(t, path, 5)
	abstract := fmt.Sprintf("@lb-test-%d", os.Getpid())
	for _, tc := range []struct {
		name string
		q    *queue
		c    Check
	}{
		{"tcp", tcp, build(t, metric("tcp_socket_utilization", 90, map[string]any{"address": address.String(), "maxconn": 10}), Host{})},
		{"unix", local, build(t, metric("unix_socket_utilization", 90, map[string]any{"path": path, "maxconn": 10}), Host{})},
		{
			"unix, abstract", unixQueue(t, abstract, 5),
			build(t, metric("unix_socket_utilization", 90, map[string]any{"path": abstract, "maxconn": 10}), Host{}),
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wantUse(t, tc.c, 0, 0, 90)
			tc.q.connect(4)
			wantUse(t, tc.c, 0, 4, 90-2*90*4/30.0)
			tc.q.accept(4)
			wantUse(t, tc.c, 4, 0, 90) // nothing is queued, so the weight is full
			tc.q.connect(6)            // backlog + 1: the queue is full
			wantUse(t, tc.c, 4, 6, 90-90*4/30.0-2*90*6/30.0)
			if err := unix.Close(tc.q.fd); err != nil {
				t.Fatal(err)
			}
			want(t, tc.c.Run(t.Context()), true, "nothing listens there")
		})
	}
}

// Fault 20 of litmus_paper: a queue metric has its full weight if nothing listens.
func TestASocketWithoutAListenerContributesNothing(t *testing.T) {
	for _, c := range []Check{
		build(t, metric("tcp_socket_utilization", 100, map[string]any{"address": "127.0.0.1:1", "maxconn": 10}), Host{}),
		build(t, metric("unix_socket_utilization", 100, map[string]any{"path": "/no/such", "maxconn": 10}), Host{}),
	} {
		r := c.Run(t.Context())
		want(t, r, true, "nothing listens there")
		if r.Value != 0 || c.Floor() != 0 {
			t.Errorf("%s contributes %v, at least %d", c.Display(), r.Value, c.Floor())
		}
	}
}

func TestTheListenersOfAnAddress(t *testing.T) {
	wildcard4, at4 := tcpQueue(t, "0.0.0.0:0", 5)
	wildcard4.connect(2)
	dual, at6 := tcpQueue(t, "[::]:0", 5)
	dual.connect(3)
	dual.accept(1)
	for _, tc := range []struct {
		name, address string
		use           socketUse
	}{
		{"the IPv4 wildcard", fmt.Sprintf("0.0.0.0:%d", at4.Port()), socketUse{1, 0, 2}},
		{"one address, served by the wildcard", fmt.Sprintf("127.0.0.1:%d", at4.Port()), socketUse{1, 0, 2}},
		{"IPv6 is not served by IPv4", fmt.Sprintf("[::1]:%d", at4.Port()), socketUse{}},
		{"the dual-stack IPv6 wildcard", fmt.Sprintf("[::]:%d", at6.Port()), socketUse{1, 1, 2}},
		{"IPv4, served by the dual-stack wildcard", fmt.Sprintf("127.0.0.1:%d", at6.Port()), socketUse{1, 1, 2}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			use, err := tcpSocketUse(t.Context(), netip.MustParseAddrPort(tc.address))
			if err != nil || use != tc.use {
				t.Errorf("%+v, want %+v: %v", use, tc.use, err)
			}
		})
	}
}

func TestTheMostSpecificListenerIsChosen(t *testing.T) {
	socket := func(address string, v6, only bool) inetSocket {
		return inetSocket{local: netip.AddrPortFrom(netip.MustParseAddr(address), 80), v6: v6, v6only: only}
	}
	all := []inetSocket{socket("::", true, false), socket("0.0.0.0", false, false), socket("10.0.0.1", false, false),
		socket("10.0.0.1", false, false), socket("::1", true, true)}
	for _, tc := range []struct {
		name      string
		listening []inetSocket
		address   string
		n         int
		first     string
	}{
		{"two that share an address", all, "10.0.0.1", 2, "10.0.0.1"},
		{"the wildcard of the family", all, "10.0.0.2", 1, "0.0.0.0"},
		{"an exact IPv6 address", all, "::1", 1, "::1"},
		{"the IPv6 wildcard", all, "fe80::1", 1, "::"},
		{"dual", all[:1], "10.0.0.1", 1, "::"},
		{"IPv6 only", []inetSocket{socket("::", true, true)}, "10.0.0.1", 0, ""},
		{"no listener", nil, "10.0.0.1", 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := listenersFor(tc.listening, netip.MustParseAddr(tc.address))
			if len(got) != tc.n || tc.n > 0 && got[0].local.Addr().String() != tc.first {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestALinkToASocketIsFollowed(t *testing.T) {
	dir := t.TempDir()
	unixQueue(t, filepath.Join(dir, "s"), 5).connect(1)
	if err := os.Symlink("s", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	use, err := unixSocketUse(t.Context(), filepath.Join(dir, "link"))
	if err != nil || use != (socketUse{listeners: 1, queued: 1}) {
		t.Errorf("%+v: %v", use, err)
	}
}

func TestSocketFormula(t *testing.T) {
	for _, tc := range []struct {
		use    socketUse
		points float64
		util   int
	}{
		{socketUse{1, 500, 0}, 60, 0},
		{socketUse{1, 0, 1}, 60 - 2*60/30.0, 10},
		{socketUse{1, 10, 10}, 1, 100},
		{socketUse{1, 9, 10}, 2, 100},
		{socketUse{1, 0, 4000}, 1, 40000},
		{socketUse{1, 3, 1}, 60 - 60*3/30.0 - 2*60/30.0, 10},
	} {
		if got := tc.use.points(60, 10); math.Abs(got-tc.points) > 1e-9 || tc.use.utilization(10) != tc.util {
			t.Errorf("%+v gives %v and %d %%, want %v and %d %%", tc.use, got, tc.use.utilization(10), tc.points, tc.util)
		}
	}
}

func TestSocketChecksEndWithTheirContext(t *testing.T) {
	ctx, cancel := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer cancel()
	for _, c := range []Check{
		build(t, metric("tcp_socket_utilization", 100, map[string]any{"address": "127.0.0.1:1", "maxconn": 10}), Host{}),
		build(t, metric("unix_socket_utilization", 100, map[string]any{"path": "/no/such", "maxconn": 10}), Host{}),
	} {
		if r := c.Run(ctx); r.OK || !strings.Contains(r.Detail, "timed out after 10s") {
			t.Errorf("%+v", r)
		}
	}
}

func TestSocketRequestsOnTheWire(t *testing.T) {
	for _, tc := range []struct {
		name, want string
		got        []byte
	}{
		{"tcp, listening", "0a060000" + "00040000" + "2457" + strings.Repeat("00", 46), inetRequest(unix.AF_INET6, stateListen, 9303)},
		{"tcp, established", "02060000" + "02000000" + "0050" + strings.Repeat("00", 46), inetRequest(unix.AF_INET, stateEstablished, 80)},
		{"unix, listening", "01000000" + "00040000" + "00000000" + "11000000" + "0000000000000000", unixRequest(stateListen)},
	} {
		if got := hex.EncodeToString(tc.got); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

func FuzzParseInet(f *testing.F) {
	f.Add(make([]byte, inetMessageLen))
	f.Add(append(make([]byte, inetMessageLen), 5, 0, inetDiagSkV6only, 0, 1, 0, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parseInet(b); err == nil && !s.local.Addr().IsValid() {
			t.Errorf("% x gives %+v", b, s)
		}
	})
}

func FuzzParseUnix(f *testing.F) {
	f.Add(append(make([]byte, unixMessageLen), 7, 0, unixDiagName, 0, '/', 'x', 0, 0, 12, 0, unixDiagRqlen, 0, 3, 0, 0, 0, 5, 0, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parseUnix(b); err == nil && !strings.HasPrefix(s.name, "@") && strings.Contains(s.name, "\x00") {
			t.Errorf("% x gives %+v", b, s)
		}
	})
}
