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

// Bounds of what clients may take up. HAProxy sends the name with its connection, and reads the answer at once.
const (
	clientTime = 2 * time.Second // for all of a connection; HAProxy itself gives up after its agent-inter, by default as long
	maxClients = 256             // connections on a port at one time; further ones wait to be accepted
	maxUnread  = 4 << 10         // bytes that are taken from a client and not looked at
)

// How long an error of accepting, such as too many open files, is waited out.
const (
	retryFirst = 5 * time.Millisecond
	retryMost  = time.Second
)

// Port is one TCP port that is answered.
type Port struct {
	Key     string // of the configuration, for messages, such as "services.webapp.agent_check"
	Address string // "host:port" or ":port"
	Service string // whose health is told; "": the client names it
}

// Options are what a server works with.
type Options struct {
	Listen func(ctx context.Context, key, address string) (net.Listener, error)
	Look   func(service string) (s State, known bool) // at the time of the call; any goroutine may
	Log    *slog.Logger
}

// Server answers on a set of ports. Prepare binds, Commit serves; both belong to one goroutine.
type Server struct {
	opts Options

	ctx   context.Context // of all connections; ended by Close
	end   context.CancelFunc
	ports map[string]*port // by address: those that are served
	wg    sync.WaitGroup
}

// port is one bound port.
type port struct {
	net.Listener
	service atomic.Pointer[string] // whose health is told; a reload may change it
	slots   chan struct{}          // holds one for each open connection
	closed  chan struct{}
}

// New makes a server without ports.
func New(o Options) *Server {
	s := &Server{opts: o, ports: map[string]*port{}}
	s.ctx, s.end = context.WithCancel(context.Background())
	return s
}

// Change is a new set of ports, bound and not served yet. Either Commit or Abandon has to follow.
type Change struct {
	server *Server
	wanted []Port
	opened map[string]*port
}

// Prepare binds the ports that are not bound yet. When one cannot be bound, none is, and nothing has changed.
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

// explain adds to an error of binding that a port of this server is in the way which is about to leave, such as ":9301" in that of
// "127.0.0.1:9301". It stays until all else is bound, so that a change never leaves a gap.
func (s *Server) explain(w Port, wanted []Port, err error) error {
	_, number, _ := net.SplitHostPort(w.Address)
	for address := range s.ports {
		_, other, _ := net.SplitHostPort(address)
		leaves := !slices.ContainsFunc(wanted, func(p Port) bool { return p.Address == address })
		if leaves && other == number && number != "" {
			return fmt.Errorf("%s: this agent itself still answers on %s: take another port, or restart the agent: %w", w.Key, address, err)
		}
	}
	return err
}

// Abandon gives back what was bound.
func (c *Change) Abandon() error {
	var errs []error
	for _, p := range c.opened {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// Commit serves the new ports and closes those that are no longer wanted. A port that stays is open all the while.
func (c *Change) Commit() {
	s := c.server
	stay := map[string]bool{}
	for _, w := range c.wanted {
		stay[w.Address] = true
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
		if !stay[address] {
			s.shut(p)
			delete(s.ports, address)
		}
	}
}

// Close stops listening, sends silent clients away, and returns when the last connection has ended.
func (s *Server) Close() {
	for _, p := range s.ports {
		s.shut(p)
	}
	clear(s.ports)
	s.end()
	s.wg.Wait()
}

func (s *Server) shut(p *port) {
	close(p.closed)
	if err := p.Close(); err != nil {
		s.opts.Log.Error("agent-check port does not close", "listen", p.Addr().String(), "err", err)
	}
}

// serve answers one port until it is closed.
func (s *Server) serve(p *port) {
	var wait time.Duration
	for {
		select {
		case p.slots <- struct{}{}:
		case <-p.closed:
			return
		}
		conn, err := p.Accept()
		if err == nil {
			wait = 0
			s.wg.Go(func() {
				defer func() { <-p.slots }()
				s.attend(conn, *p.service.Load())
			})
			continue
		}
		<-p.slots
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if wait == 0 {
			s.opts.Log.Error("agent-check port cannot accept, and tries again", "listen", p.Addr().String(), "err", err)
		}
		wait = min(max(2*wait, retryFirst), retryMost)
		select {
		case <-time.After(wait):
		case <-p.closed:
			return
		}
	}
}

// attend answers one connection. What its client does wrong is no news: a reset, for one, is how some close.
func (s *Server) attend(conn net.Conn, service string) {
	defer conn.Close()
	if conn.SetDeadline(time.Now().Add(clientTime)) != nil {
		return
	}
	stop := context.AfterFunc(s.ctx, func() { conn.SetReadDeadline(time.Now()) }) // what is being answered still is
	defer stop()
	answer, err := s.answer(conn, service)
	if err == nil {
		_, err = io.WriteString(conn, answer)
	}
	if err != nil {
		s.opts.Log.Debug("agent-check client got no answer", "peer", conn.RemoteAddr().String(), "listen", conn.LocalAddr().String(), "err", err)
		return
	}
	// What is still unread when a connection is closed resets it, and the answer may be lost.
	if half, ok := conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		io.Copy(io.Discard, io.LimitReader(conn, maxUnread)) // until the client closes, or its time is over
	}
}

// answer is what a client is told about its service, or the one that it names. An error means that there is nobody to tell.
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
	state, known := s.opts.Look(service)
	if !known {
		return fail(fmt.Sprintf("this agent has no service %s", service)), nil
	}
	return state.Words(), nil
}

// readLine reads up to an LF or the end of the stream, or as much as can be no name any more.
func readLine(r io.Reader) ([]byte, error) {
	buf := make([]byte, 0, maxName+3) // with CR and LF, and one byte too many
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
