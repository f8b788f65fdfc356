package listen

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"

	"golang.org/x/sys/unix"
)

// peerKey is where the credentials of a Unix socket's peer are kept in a connection's context.
type peerKey struct{}

// withPeer keeps who is at the other end of a Unix socket, as the kernel says.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	for {
		outer, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		c = outer.NetConn()
	}
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return ctx
	}
	var cred *unix.Ucred
	if controlErr := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); controlErr != nil || err != nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, *cred)
}

// Peer names who sent a request: "uid 0 (pid 42)" over the Unix socket, the address over TCP.
func Peer(r *http.Request) string {
	if cred, ok := r.Context().Value(peerKey{}).(unix.Ucred); ok {
		return fmt.Sprintf("uid %d (pid %d)", cred.Uid, cred.Pid)
	}
	return r.RemoteAddr
}

// FromLoopback tells whether a request came over TCP from this machine itself.
func FromLoopback(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// FromWebPage tells whether a browser sent a request for a page that it shows. Such a page can be anybody's: one whose name
// leads to this machine looks like one of ours, so none is trusted.
func FromWebPage(r *http.Request) bool {
	return r.Header.Get("Origin") != "" || http.NewCrossOriginProtection().Check(r) != nil
}
