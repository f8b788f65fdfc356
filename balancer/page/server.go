package page

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/listen"
)

// Bounds of what clients may take up, beside those of package listen. They are anybody, and there may be many when a site is down;
// each connection is over after one answer.
const (
	maxConns  = 1024 // on each address; more have to wait
	writeTime = 10 * time.Second
	idleTime  = 5 * time.Second
)

// Server serves the page of one cluster. The kernel leads the cluster's packets to it: it listens on one virtual IP of each IP version, at a
// port that the kernel picks, and is a destination of the cluster's service there, with the addresses rewritten (masquerading). Packets to any virtual
// IP and port of the cluster so come to it, and its answers leave with the address that the client asked.
type Server struct {
	content   atomic.Pointer[Content]
	guard     *listen.Authorizer
	log       *slog.Logger
	listeners []net.Listener
	server    *http.Server
}

// Listen binds a port on each of the addresses, also where they are not on this machine now: a virtual IP comes and goes.
func Listen(ctx context.Context, name string, addresses []netip.Addr, content *Content, log *slog.Logger) (*Server, error) {
	s := &Server{log: log}
	s.content.Store(content)
	s.guard = listen.Daemon{Name: "lb balance", Section: "clusters." + name + ".downpage"}.NewAuthorizer("", content.keys)
	for _, a := range addresses {
		l, err := (&net.ListenConfig{Control: freebind}).Listen(ctx, "tcp", netip.AddrPortFrom(a, 0).String())
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listen on %s for the downpage of cluster %s: %w", a, name, err), s.close())
		}
		s.listeners = append(s.listeners, l)
	}
	s.server = listen.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.content.Load().ServeHTTP(w, r) }), log, writeTime, idleTime)
	s.server.DisableGeneralOptionsHandler = true // OPTIONS * would get 200
	s.server.SetKeepAlivesEnabled(false)
	return s, nil
}

// freebind lets a socket be bound to an address that this machine does not have (ip(7), ipv6(7)).
func freebind(network, _ string, c syscall.RawConn) error {
	level, option := unix.IPPROTO_IP, unix.IP_FREEBIND
	if network == "tcp6" {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_FREEBIND
	}
	var err error
	if controlErr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, option, 1) }); controlErr != nil {
		return controlErr
	}
	return err
}

// SetContent puts the content of a reload in the place of that before.
func (s *Server) SetContent(content *Content) {
	s.content.Store(content)
	s.guard.SetPolicy(content.keys)
}

// Address is where packets of a family are to go; invalid when the page has none of it.
func (s *Server) Address(f ipvs.Family) netip.AddrPort {
	for _, l := range s.listeners {
		if at := l.Addr().(*net.TCPAddr).AddrPort(); ipvs.FamilyOf(at.Addr()) == f {
			return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
		}
	}
	return netip.AddrPort{}
}

// Run serves until ctx ends, and returns when no connection is left.
func (s *Server) Run(ctx context.Context) {
	var serving sync.WaitGroup
	for _, l := range s.listeners {
		serving.Go(func() {
			if err := s.server.Serve(listen.Limit(s.guard.OptionalTLS(l), maxConns)); !errors.Is(err, http.ErrServerClosed) {
				s.log.Error("the downpage is not served any more: stop the cluster and start it again", "addr", l.Addr().String(), "err", err)
			}
		})
	}
	<-ctx.Done()
	_ = s.server.Close() // a client that still reads the page tries again anyway
	serving.Wait()
}

// close gives the addresses back without having served.
func (s *Server) close() error {
	var errs []error
	for _, l := range s.listeners {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
