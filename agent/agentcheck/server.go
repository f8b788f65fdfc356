package agentcheck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Limits on clients. HAProxy sends the name right after connecting and reads the answer at once.
const (
	clientTimeout = 2 * time.Second // for a whole connection; HAProxy gives up after agent-inter, which defaults to the same
	maxClients    = 256             // connections on a port at a time; more wait to be accepted
	maxUnread     = 4 << 10         // bytes from a client that are read and ignored
)

// Delays after an error of Accept, such as too many open files.
const (
	minRetryDelay = 5 * time.Millisecond
	maxRetryDelay = time.Second
)

// Port is a TCP port for agent-checks.
type Port struct {
	Key     string // the configuration key, for messages: "services.webapp.agent_check"
	Address string // "host:port" or ":port"
	Service string // the service to report; "": the client sends its name
}

// Options are what a server needs.
type Options struct {
	Listen func(ctx context.Context, key, address string) (net.Listener, error)
	Find   func(service string) (s State, known bool) // returns the current state; called by any goroutine
	Log    *slog.Logger
}

// Server serves agent-checks on a set of ports. Prepare and Commit belong to one goroutine.
type Server struct {
	opts Options

	ctx   context.Context // of all connections; cancelled by Close
	end   context.CancelFunc
	ports map[string]*port // ports in service, by address
	wg    sync.WaitGroup
}

// port is one bound port.
type port struct {
	net.Listener
	service atomic.Pointer[string] // the service to report; a reload may change it
	slots   chan struct{}          // has one element for each open connection
	closed  chan struct{}
}

// New returns a server without ports.
func New(o Options) *Server {
	s := &Server{opts: o, ports: map[string]*port{}}
	s.ctx, s.end = context.WithCancel(context.Background())
	return s
}

// Change is a new set of ports, bound but not in service. Call Commit or Abandon.
type Change struct {
	server *Server
	wanted []Port
	opened map[string]*port
}

// Prepare binds the ports that are not bound yet. If it fails nothing has changed.
func (s *Server) Prepare(ctx context.Context, wanted []Port) (*Change, error) {
	c := &Change{server: s, wanted: wanted, opened: map[string]*port{}}
	var errs []error
	for _, w := range wanted {
		if s.ports[w.Address] != nil || c.opened[w.Address] != nil {
			continue
		}
		l, err := s.opts.Listen(ctx, w.Key, w.Address)
		if err != nil {
			errs = append(errs, s.explain(w, wanted, err))
			continue
		}
		c.opened[w.Address] = &port{Listener: l, slots: make(chan struct{}, maxClients), closed: make(chan struct{})}
	}
	if len(errs) > 0 {
		return nil, errors.Join(append(errs, c.Abandon())...)
	}
	return c, nil
}

// explain says whether the address is in use by a port of this server that is about to be closed, as ":9301"
// is in the way of "127.0.0.1:9301". Such a port stays open until all others are bound, so that a change
// leaves no gap.
func (s *Server) explain(w Port, wanted []Port, err error) error {
	_, number, _ := net.SplitHostPort(w.Address)
	for address := range s.ports {
		_, other, _ := net.SplitHostPort(address)
		closing := !slices.ContainsFunc(wanted, func(p Port) bool { return p.Address == address })
		if closing && other == number && number != "" {
			return fmt.Errorf("%s: this agent itself still listens on %s: use another port, or restart the agent: %w", w.Key, address, err)
		}
	}
	return err
}

// Abandon closes the newly bound ports.
func (c *Change) Abandon() error {
	var errs []error
	for _, p := range c.opened {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// Commit puts the new ports into service and closes those that are no longer wanted. A port that stays is never closed.
func (c *Change) Commit() {
	s := c.server
	wanted := map[string]bool{}
	for _, w := range c.wanted {
		wanted[w.Address] = true
		p := s.ports[w.Address]
		if p != nil {
			p.service.Store(&w.Service)
			continue
		}
		p = c.opened[w.Address]
		p.service.Store(&w.Service)
		s.ports[w.Address] = p
		s.wg.Go(func() { s.serve(p) })
	}
	for address, p := range s.ports {
		if !wanted[address] {
			s.close(p)
			delete(s.ports, address)
		}
	}
}

// Close stops listening, disconnects silent clients, and returns when the last connection has ended.
func (s *Server) Close() {
	for _, p := range s.ports {
		s.close(p)
	}
	clear(s.ports)
	s.end()
	s.wg.Wait()
}

func (s *Server) close(p *port) {
	close(p.closed)
	if err := p.Close(); err != nil {
		s.opts.Log.Error("cannot close agent-check port", "listen", p.Addr().String(), "err", err)
	}
}

// serve serves one port until it is closed.
func (s *Server) serve(p *port) {
	var delay time.Duration
	for {
		select {
		case p.slots <- struct{}{}:
		case <-p.closed:
			return
		}
		conn, err := p.Accept()
		if err == nil {
			delay = 0
			s.wg.Go(func() {
				defer func() { <-p.slots }()
				s.handle(conn, *p.service.Load())
			})
			continue
		}
		<-p.slots
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if delay == 0 {
			s.opts.Log.Error("cannot accept on agent-check port, retrying", "listen", p.Addr().String(), "err", err)
		}
		delay = min(max(2*delay, minRetryDelay), maxRetryDelay)
		select {
		case <-time.After(delay):
		case <-p.closed:
			return
		}
	}
}

// handle serves one connection. Errors of clients are debug messages, because some close their connections
// with a reset.
func (s *Server) handle(conn net.Conn, service string) {
	defer conn.Close()
	if conn.SetDeadline(time.Now().Add(clientTimeout)) != nil {
		return
	}
	stop := context.AfterFunc(s.ctx, func() { conn.SetReadDeadline(time.Now()) }) // an answer may still be written
	defer stop()
	answer, err := s.answer(conn, service)
	if err == nil {
		_, err = io.WriteString(conn, answer)
	}
	if err != nil {
		s.opts.Log.Debug("agent-check client got no response", "peer", conn.RemoteAddr().String(), "listen", conn.LocalAddr().String(),
			"err", err)
		return
	}
	// Closing a connection with unread data resets it, and the client may lose the answer.
	if half, ok := conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		io.Copy(io.Discard, io.LimitReader(conn, maxUnread)) // until the client closes, or the deadline
	}
}

// answer is the reply for the service, or for the one that the client names. An error means that the client
// cannot be answered.
func (s *Server) answer(r io.Reader, service string) (string, error) {
	if service == "" {
		sent, err := readLine(r)
		if err != nil {
			return "", fmt.Errorf("read the name of the service: %w", err)
		}
		if service, err = parseName(sent); err != nil {
			return fail(err.Error()), nil
		}
	}
	state, known := s.opts.Find(service)
	if !known {
		return fail(fmt.Sprintf("this agent has no service %s", service)), nil
	}
	return state.reply(), nil
}

// readLine reads up to an LF, the end of the stream, or the maximum length of a name.
func readLine(r io.Reader) ([]byte, error) {
	buf := make([]byte, 0, maxName+3) // CR, LF, and one byte to detect a name that is too long
	for len(buf) < cap(buf) {
		n, err := r.Read(buf[len(buf):cap(buf)])
		got := buf[len(buf) : len(buf)+n]
		buf = buf[:len(buf)+n]
		for _, c := range got {
			if c == '\n' {
				return buf, nil
			}
		}
		if errors.Is(err, io.EOF) {
			return buf, nil
		}
		if err != nil {
			return nil, err
		}
	}
	return buf, nil
}
