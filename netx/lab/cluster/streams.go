package cluster

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// A stream sends a ping at this interval, and waits this long for the response: TCP retransmits with doubling delays.
const (
	pingInterval = time.Second
	pingTimeout  = 60 * time.Second
)

// Streams are long-lived connections to one address that ping all the time.
type Streams struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	ports []uint16 // client ports

	mu       sync.Mutex // protects the fields below
	answered []time.Time
	broken   []error
}

// OpenStreams opens connections and waits for the first response on each.
func (c *Cluster) OpenStreams(ctx context.Context, to netip.AddrPort, number int) (*Streams, error) {
	ctx, cancel := context.WithCancel(ctx)
	s := &Streams{cancel: cancel, answered: make([]time.Time, number)}
	for i := range number {
		conn, err := c.Client.Dial(ctx, "tcp", to.String())
		if err != nil {
			s.Close()
			return nil, err
		}
		in := bufio.NewReader(conn)
		node, err := "", error(nil)
		if _, err = fmt.Fprintf(conn, "GET /stream HTTP/1.1\r\nHost: %s\r\n\r\n", to); err == nil {
			node, err = ping(conn, in)
		}
		if err != nil {
			conn.Close()
			s.Close()
			return nil, err
		}
		s.ports = append(s.ports, conn.LocalAddr().(*net.TCPAddr).AddrPort().Port())
		s.done.Go(func() {
			defer conn.Close()
			s.run(ctx, conn, in, i, node)
		})
	}
	return s, nil
}

// ping sends a line and returns the name of the node that responded.
func ping(conn net.Conn, in *bufio.Reader) (string, error) {
	if err := conn.SetDeadline(time.Now().Add(pingTimeout)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintln(conn, "ping"); err != nil {
		return "", err
	}
	line, err := in.ReadString('\n')
	return strings.TrimSpace(line), err
}

// run pings until the connection breaks, another node responds, or ctx ends.
func (s *Streams) run(ctx context.Context, conn net.Conn, in *bufio.Reader, i int, node string) {
	tick := time.NewTicker(pingInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		sent := time.Now()
		responder, err := ping(conn, in)
		if err == nil && responder != node {
			err = fmt.Errorf("%s responds instead of %s", responder, node)
		}
		s.mu.Lock()
		if err != nil {
			s.broken = append(s.broken, fmt.Errorf("%s, to %s: %w", conn.LocalAddr(), node, err))
			s.mu.Unlock()
			return
		}
		s.answered[i] = sent
		s.mu.Unlock()
	}
}

// UnknownTo returns how many of the connections are not established in the balancer's kernel. Each line of /proc/net/ip_vs_conn has the
// protocol, the client's address and port in hexadecimal, and, in field 8, the state.
func (s *Streams) UnknownTo(ctx context.Context, b *Balancer) (int, error) {
	text, err := b.Run(ctx, "", "cat", "/proc/net/ip_vs_conn")
	if err != nil {
		return 0, err
	}
	known := map[string]bool{}
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > 7 && words[7] == "ESTABLISHED" {
			known[words[2]] = true
		}
	}
	n := 0
	for _, port := range s.ports {
		if !known[fmt.Sprintf("%04X", port)] {
			n++
		}
	}
	return n, nil
}

// UnansweredSince returns how many unbroken connections have no response to a ping sent after a time.
func (s *Streams) UnansweredSince(from time.Time) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := -len(s.broken)
	for _, at := range s.answered {
		if !at.After(from) {
			n++
		}
	}
	return n
}

// Close closes the connections and returns the errors of those that broke before.
func (s *Streams) Close() []error {
	s.cancel()
	s.done.Wait()
	return s.broken
}
