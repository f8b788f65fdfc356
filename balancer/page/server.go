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

// Limits in addition to those of package listen. Clients are untrusted, and there may be many when a site is down. Each connection
// ends after one response.
const (
	maxConns  = 1024 // per address; others wait
	writeTime = 10 * time.Second
	idleTime  = 5 * time.Second
)

// server serves the downpage of one cluster. It listens on one virtual IP per IP version, at a port that the kernel picks, and is a
// destination of the cluster's IPVS service there with masquerading. So it receives packets to any virtual IP and port of the cluster,
// and its responses leave with the address that the client used.
type server struct {
	content    atomic.Pointer[Content]
	authorizer *listen.Authorizer
	log        *slog.Logger
	listeners  []net.Listener
	server     *http.Server
}

// newServer binds a port on each of the addresses, even if this machine does not have them: a virtual IP may come later.
func newServer(ctx context.Context, name string, addresses []netip.Addr, content *Content, log *slog.Logger) (*server, error) {
	s := &server{log: log}
	s.content.Store(content)
	s.authorizer = listen.Daemon{Name: "lb balance", Section: "clusters." + name + ".downpage"}.NewAuthorizer("", content.policy)
	for _, a := range addresses {
		l, err := (&net.ListenConfig{Control: freebind}).Listen(ctx, "tcp", netip.AddrPortFrom(a, 0).String())
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listen on %s for the downpage of cluster %s: %w", a, name, err), s.close())
		}
		s.listeners = append(s.listeners, l)
	}
	s.server = listen.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.content.Load().ServeHTTP(w, r) }), log,
		writeTime, idleTime)
	s.server.DisableGeneralOptionsHandler = true // it answers OPTIONS * with 200
	s.server.SetKeepAlivesEnabled(false)
	return s, nil
}

// freebind allows binding to an address that this machine does not have (ip(7), ipv6(7)).
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

// setContent replaces the content after a reload.
func (s *server) setContent(content *Content) {
	s.content.Store(content)
	s.authorizer.SetPolicy(content.policy)
}

// Address returns where the server listens for a family; invalid if it does not.
func (s *server) Address(f ipvs.Family) netip.AddrPort {
	for _, l := range s.listeners {
		if at := l.Addr().(*net.TCPAddr).AddrPort(); ipvs.FamilyOf(at.Addr()) == f {
			return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
		}
	}
	return netip.AddrPort{}
}

// Run serves until ctx ends, and returns when all connections are closed.
func (s *server) Run(ctx context.Context) {
	var serving sync.WaitGroup
	for _, l := range s.listeners {
		serving.Go(func() {
			if err := s.server.Serve(listen.Limit(s.authorizer.OptionalTLS(l), maxConns)); !errors.Is(err, http.ErrServerClosed) {
				s.log.Error("downpage stopped serving: stop and start the cluster to restore it", "addr", l.Addr().String(), "err", err)
			}
		})
	}
	<-ctx.Done()
	_ = s.server.Close() // a client that is still reading the page will retry anyway
	serving.Wait()
}

// close closes the listeners of a server that never ran.
func (s *server) close() error {
	var errs []error
	for _, l := range s.listeners {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
