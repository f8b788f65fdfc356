//go:build bench

package peers

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/braintree/lb/netx/lab"
)

const (
	agentPort = 9293
	// farmNet contains the addresses of all real servers, which are on one host.
	farmNet   = "10.64.0.0/16"
	heartbeat = 2 * time.Second // of a stream, unless the client requests another interval
)

// agentFarm responds in place of the agents of many app nodes, with the health page and its stream. It does as little as possible, so that
// the processors are left to the program being measured.
type agentFarm struct {
	responses atomic.Int64 // with the health page
	conns     atomic.Int64 // accepted connections
	streams   atomic.Int64 // open streams

	mu      sync.Mutex // protects the maps below
	down    map[netip.Addr]bool
	changed map[netip.Addr]chan struct{} // closed when the node's health changes

	listener net.Listener
	running  sync.WaitGroup
}

// startFarm gives the host all addresses of farmNet and starts the farm there, until the test ends.
func startFarm(t *testing.T, h *lab.Host) *agentFarm {
	t.Helper()
	if _, err := h.Run(t.Context(), "ip", "route", "add", "local", farmNet, "dev", "lo"); err != nil {
		t.Fatal(err)
	}
	l, err := h.Listen(t.Context(), "tcp", fmt.Sprintf("0.0.0.0:%d", agentPort))
	if err != nil {
		t.Fatal(err)
	}
	f := &agentFarm{down: map[netip.Addr]bool{}, changed: map[netip.Addr]chan struct{}{}, listener: l}
	ctx, stop := context.WithCancel(context.Background())
	f.running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.conns.Add(1)
			f.running.Go(func() { f.serve(ctx, c) })
		}
	})
	t.Cleanup(func() {
		stop()
		_ = l.Close()
		f.running.Wait()
	})
	return f
}

// nodeAddress returns the address of node n, from 0.
func nodeAddress(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 64, byte(n / 250), byte(n%250 + 1)})
}

// setUp sets a node's health to 100 or 0 and notifies its streams.
func (f *agentFarm) setUp(node netip.Addr, up bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down[node] = !up
	if changed := f.changed[node]; changed != nil {
		close(changed)
	}
	f.changed[node] = make(chan struct{})
}

// state returns whether a node is up, and a channel that is closed when this changes.
func (f *agentFarm) state(node netip.Addr) (up bool, changed <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.changed[node] == nil {
		f.changed[node] = make(chan struct{})
	}
	return !f.down[node], f.changed[node]
}

// serve answers requests on a connection until the client closes it.
func (f *agentFarm) serve(ctx context.Context, c net.Conn) {
	end := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer end()
	defer c.Close()
	node := c.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	in := bufio.NewReaderSize(c, 512)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		keep := strings.Contains(line, "HTTP/1.1")
		stream, interval := strings.Contains(line, "/watch"), heartbeat
		if _, requested, ok := strings.Cut(line, "heartbeat="); ok {
			requested, _, _ = strings.Cut(requested, " ")
			if d, err := time.ParseDuration(requested); err == nil {
				interval = d
			}
		}
		for {
			header, err := in.ReadSlice('\n')
			if err != nil {
				return
			}
			if len(bytes.TrimSpace(header)) == 0 {
				break
			}
			keep = keep && !bytes.Equal(bytes.ToLower(bytes.TrimSpace(header)), []byte("connection: close"))
		}
		if stream {
			f.stream(c, node, interval)
			return
		}
		f.responses.Add(1)
		up, _ := f.state(node)
		if _, err := c.Write([]byte(healthPage(up, keep))); err != nil || !keep {
			return
		}
	}
}

// healthPage returns a complete response like an agent's.
func healthPage(up, keep bool) string {
	status, body, health := "200 OK", "Health: 100\nMeasured Health: 100\n", 100
	if !up {
		status, body, health = "503 Service Unavailable", "Health: 0\nMeasured Health: 0\n", 0
	}
	connection := "keep-alive"
	if !keep {
		connection = "close"
	}
	return fmt.Sprintf("HTTP/1.1 %s\r\nContent-Type: text/plain\r\nX-Health: %d\r\nContent-Length: %d\r\nConnection: %s\r\n\r\n%s",
		status, health, len(body), connection, body)
}

// stream writes the node's health at once and at every change, and heartbeats in between.
func (f *agentFarm) stream(c net.Conn, node netip.Addr, interval time.Duration) {
	f.streams.Add(1)
	defer f.streams.Add(-1)
	const header = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Heartbeat: %g\r\nConnection: close\r\n\r\n"
	const event = "id: farm-%d\nevent: health\ndata: {\"service\":\"webapp\",\"health\":%d,\"measured\":%d,\"forced\":null," +
		"\"reason\":\"measured\",\"at\":%q}\n\n"
	if _, err := fmt.Fprintf(c, header, interval.Seconds()); err != nil {
		return
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for seq := 1; ; seq++ {
		up, changed := f.state(node)
		health := 0
		if up {
			health = 100
		}
		at := time.Now().UTC().Format(time.RFC3339Nano)
		if _, err := fmt.Fprintf(c, event, seq, health, health, at); err != nil {
			return
		}
		for waiting := true; waiting; {
			select {
			case <-changed:
				waiting = false
			case <-ticker.C:
				if _, err := c.Write([]byte(": heartbeat\n\n")); err != nil {
					return
				}
			}
		}
	}
}
