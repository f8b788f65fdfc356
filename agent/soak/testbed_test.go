//go:build soak

package soak

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	goodInterval = 2 * time.Second
	badInterval  = 3 * time.Second // long enough that all of them together leave the processor mostly idle
)

// service is a configured service. All dependencies of a good service pass, and none of a bad one.
type service struct {
	name     string
	good     bool
	depends  []string // in TOML, without interval and timeout
	metrics  []string
	interval time.Duration
	timeout  time.Duration
}

func (s service) write(b *strings.Builder) {
	fmt.Fprintf(b, "[services.%s]\n", s.name)
	list := func(key string, checks []string) {
		if len(checks) == 0 {
			return
		}
		fmt.Fprintf(b, "%s = [\n", key)
		for _, c := range checks {
			fmt.Fprintf(b, "  { %s, interval = %q, timeout = %q },\n", c, s.interval, s.timeout)
		}
		b.WriteString("]\n")
	}
	list("depends", s.depends)
	list("metrics", s.metrics)
}

// testbed is the environment of the checks: servers on loopback, files, and the services that check them.
type testbed struct {
	list  []service
	peers []*peer
}

func newTestbed(t *testing.T) *testbed {
	t.Helper()
	b := &testbed{}
	dir := t.TempDir()
	file := func(name, data string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	ok := b.peer(t, func(c net.Conn) {
		c.Read(make([]byte, 4096))
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nOK\n")
	})
	banner := b.peer(t, func(c net.Conn) { io.WriteString(c, "220 ready\r\n") })
	good := service{
		good: true, interval: goodInterval, timeout: goodInterval - 100*time.Millisecond,
		depends: []string{
			`type = "http", url = "http://` + ok + `/", content = "OK"`,
			`type = "tcp", address = "` + banner + `", expect = "220"`,
			`type = "script", command = "exit 0"`,
			`type = "script", command = "head -c 3000000 /dev/zero; echo fine >&2"`,
			`type = "file_contents", path = "` + file("state", "OK\n") + `", pattern = "^OK"`,
		},
		metrics: []string{
			`type = "constant", weight = 60`, `type = "cpu_load", weight = 20`, `type = "available_memory", weight = 20`,
			`type = "script", weight = 10, command = "echo 0.5", scale = "fraction"`,
		},
	}
	for i := range 4 {
		good.name = fmt.Sprintf("good%d", i)
		b.list = append(b.list, good)
	}
	b.addBad("commands", scripts())
	b.addBad("peers", b.badPeers(t))
	b.addBad("files", []string{
		`type = "file_contents", path = "` + pipe + `", pattern = "x"`,
		`type = "file_contents", path = "` + dir + `", pattern = "x"`,
		`type = "file_contents", path = "` + dir + `/nothing", pattern = "x"`,
		`type = "file_contents", path = "` + file("long", strings.Repeat("zero ", 1<<20)) + `", pattern = "^x"`,
		`type = "file_contents", path = "/dev/zero", pattern = "^x"`,
	})
	return b
}

// addBad adds a service for each check, so that each failure shows on its own.
func (b *testbed) addBad(kind string, depends []string) {
	for i, d := range depends {
		b.list = append(b.list, service{
			name: fmt.Sprintf("bad_%s%02d", kind, i), depends: []string{d}, metrics: []string{`type = "constant", weight = 100`},
			interval: badInterval, timeout: 300 * time.Millisecond,
		})
	}
}

// scripts are misbehaving commands.
func scripts() []string {
	var depends []string
	for _, command := range []string{
		"sleep 1000",
		"trap '' TERM INT HUP; while :; do sleep 1000; done",
		"kill -SEGV $$", "kill -KILL $$", "exit 3", "/nowhere/to/be/found",
		"yes", "yes >&2", "head -c 5000000 /dev/zero; exit 1", "head -c 5000000 /dev/zero >&2; exit 1",
		"sleep 1000 & sleep 1000 & exit 1",
		"(sleep 1000 & (sleep 1000 & sleep 1000)) & wait",
		"nohup sleep 1000 >/dev/null 2>&1 & exit 1",
		"for i in 1 2 3 4 5; do sleep 1000 & done; wait",
		"exec >&- 2>&-; sleep 1000",
		"kill -STOP $$",
		// These leave the process group, so they cannot be told from processes that should outlive the
		// command. They keep its output open, and end on their own.
		"setsid sleep 1.5 & exit 1",
		"setsid sh -c 'sleep 1.5 & sleep 1.5' & sleep 1000",
	} {
		depends = append(depends, fmt.Sprintf(`type = "script", command = %q`, command))
	}
	return append(depends, `type = "script", argv = ["/etc/hostname"]`,
		`type = "nagios", command = "sleep 1000 & yes | head -c 1000000; exit 2"`)
}

// badPeers are servers that hang, refuse, reset, respond slowly, or send garbage.
func (b *testbed) badPeers(t *testing.T) []string {
	t.Helper()
	closed := loopback(t)
	refusing := closed.Addr().String()
	closed.Close()
	addresses := []string{
		refusing,
		b.peer(t, func(c net.Conn) { io.Copy(io.Discard, c) }), // never responds
		b.peer(t, func(c net.Conn) { c.(*net.TCPConn).SetLinger(0) }),
		b.peer(t, func(c net.Conn) { c.Read(make([]byte, 1)); c.(*net.TCPConn).SetLinger(0) }),
		b.peer(t, func(c net.Conn) { drip(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n") }),
		b.peer(t, func(c net.Conn) { c.Read(make([]byte, 4096)); flood(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n") }),
		b.peer(t, func(c net.Conn) { c.Read(make([]byte, 4096)); flood(c, "HTTP/1.1 200 OK\r\nX: ") }),
		b.peer(t, func(c net.Conn) { c.Read(make([]byte, 4096)); flood(c, "") }),
		b.peer(t, func(c net.Conn) {
			c.Read(make([]byte, 4096))
			io.WriteString(c, "HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n")
		}),
		b.peer(t, func(c net.Conn) {
			c.Read(make([]byte, 4096))
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
		}),
		b.peer(t, func(net.Conn) {}), // closes at once
	}
	var depends []string
	for _, a := range addresses {
		depends = append(depends,
			`type = "http", url = "http://`+a+`/", content = "never there"`,
			`type = "tcp", address = "`+a+`", send = "hello\r\n\r\n", expect = "never there"`)
	}
	return depends
}

// drip sends one byte at a time, slowly, while the client reads.
func drip(c net.Conn, text string) {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for i := range len(text) {
		<-ticker.C
		if _, err := io.WriteString(c, text[i:i+1]); err != nil {
			return
		}
	}
}

// flood sends 25 MiB.
func flood(c net.Conn, first string) {
	io.WriteString(c, first)
	chunk := make([]byte, 1<<16)
	for i := range chunk {
		chunk[i] = 'z'
	}
	for range 400 {
		if _, err := c.Write(chunk); err != nil {
			return
		}
	}
}

// peer is a server on loopback. It calls a function for each connection.
type peer struct {
	l     net.Listener
	mu    sync.Mutex // protects conns
	conns map[net.Conn]bool
	wg    sync.WaitGroup
}

func (b *testbed) peer(t *testing.T, behave func(net.Conn)) (address string) {
	t.Helper()
	p := &peer{l: loopback(t), conns: map[net.Conn]bool{}}
	b.peers = append(b.peers, p)
	p.wg.Go(func() {
		for {
			c, err := p.l.Accept()
			if err != nil {
				return // closed
			}
			p.mu.Lock()
			p.conns[c] = true
			p.mu.Unlock()
			p.wg.Go(func() {
				// A check that leaves its connection open must show up as a leak instead of blocking the test.
				_ = c.SetDeadline(time.Now().Add(time.Minute))
				behave(c)
				c.Close()
				p.mu.Lock()
				delete(p.conns, c)
				p.mu.Unlock()
			})
		}
	})
	return p.l.Addr().String()
}

// close stops all peers.
func (b *testbed) close() {
	for _, p := range b.peers {
		p.l.Close()
		p.mu.Lock()
		for c := range p.conns {
			c.Close()
		}
		p.mu.Unlock()
		p.wg.Wait()
	}
}
