package listen

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// PeerCredentials identify the process at the other end of a Unix socket at the time when it connected.
type PeerCredentials struct {
	UID, GID uint32
	PID      int32
	Groups   []uint32 // supplementary
}

// inGroup reports whether the process was in a group.
func (c PeerCredentials) inGroup(gid uint32) bool {
	return c.GID == gid || slices.Contains(c.Groups, gid)
}

// Keys of the values in a request's context.
type (
	credentialsKey struct{} // PeerCredentials
	connKey        struct{} // *sniffConn
	identityKey    struct{} // string: how the caller was authorized
)

// WithPeerCredentials marks a request's context as coming over the control socket from that process. NewServer's
// servers do it for their own connections.
func WithPeerCredentials(ctx context.Context, c PeerCredentials) context.Context {
	return context.WithValue(ctx, credentialsKey{}, c)
}

// connContext stores the peer of a connection in its context.
func connContext(ctx context.Context, c net.Conn) context.Context {
	for {
		if s, ok := c.(*sniffConn); ok {
			return context.WithValue(ctx, connKey{}, s)
		}
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
	if cred, err := peerCredentials(uc); err == nil { // an unidentified peer is not trusted
		return WithPeerCredentials(ctx, cred)
	}
	return ctx
}

func peerCredentials(c *net.UnixConn) (PeerCredentials, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return PeerCredentials{}, err
	}
	var cred PeerCredentials
	controlErr := raw.Control(func(fd uintptr) {
		var u *unix.Ucred
		if u, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err != nil {
			return
		}
		cred = PeerCredentials{UID: u.Uid, GID: u.Gid, PID: u.Pid}
		cred.Groups, err = peerGroups(fd)
	})
	if controlErr != nil {
		return PeerCredentials{}, controlErr
	}
	return cred, err
}

// peerGroups reads SO_PEERGROUPS (unix(7)), for which x/sys/unix has no function.
func peerGroups(fd uintptr) ([]uint32, error) {
	groups := make([]uint32, 32)
	for {
		size := uint32(len(groups)) * 4 // bytes; the kernel sets it to the size used or needed
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == 0:
			return groups[:size/4], nil
		case errno == unix.ERANGE && int(size/4) > len(groups):
			groups = make([]uint32, size/4)
		default:
			return nil, errno
		}
	}
}

// Peer identifies the sender of a request: "uid 0 (pid 42)" over the control socket; over TCP, the address and how it
// was authorized.
func Peer(r *http.Request) string {
	if identity, ok := r.Context().Value(identityKey{}).(string); ok {
		return identity
	}
	if cred, ok := r.Context().Value(credentialsKey{}).(PeerCredentials); ok {
		return fmt.Sprintf("uid %d (pid %d)", cred.UID, cred.PID)
	}
	return r.RemoteAddr
}

// withIdentity returns the request with its sender's identity, for Peer.
func withIdentity(r *http.Request, identity string) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), identityKey{}, identity))
}

// tlsState returns the TLS state of the request's connection; nil if it is plain.
func tlsState(r *http.Request) *tls.ConnectionState {
	c, ok := r.Context().Value(connKey{}).(*sniffConn)
	if !ok {
		return nil
	}
	t := c.tls.Load()
	if t == nil {
		return nil
	}
	state := t.ConnectionState()
	return &state
}

// fromLoopback reports whether a request came over TCP from this machine itself.
func fromLoopback(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// fromWebPage reports whether a browser sent the request on behalf of a web page. No page is trusted, not even one of
// the same origin: with DNS rebinding, any page can appear to come from this machine.
func fromWebPage(r *http.Request) bool {
	return r.Header.Get("Origin") != "" || http.NewCrossOriginProtection().Check(r) != nil
}
