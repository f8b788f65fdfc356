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

// Credentials say which process is at the other end of a Unix socket, as it was when it connected.
type PeerCredentials struct {
	UID, GID uint32
	PID      int32
	Groups   []uint32 // the further ones
}

// member tells whether the process was in a group.
func (c PeerCredentials) member(gid uint32) bool {
	return c.GID == gid || slices.Contains(c.Groups, gid)
}

// The keys of what a request's context keeps about who sent it.
type (
	credentialsKey struct{} // Credentials
	connKey        struct{} // *securedConn
	identityKey    struct{} // string: what Admit found
)

// WithCredentials is a request's context that says that it came over the control socket from that process. Server does it for
// its own connections.
func WithPeerCredentials(ctx context.Context, c PeerCredentials) context.Context {
	return context.WithValue(ctx, credentialsKey{}, c)
}

// withConn keeps who is at the other end of a connection.
func withConn(ctx context.Context, c net.Conn) context.Context {
	for {
		if s, ok := c.(*securedConn); ok {
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
	if cred, err := credentials(uc); err == nil { // who cannot be known is not trusted
		return WithPeerCredentials(ctx, cred)
	}
	return ctx
}

func credentials(c *net.UnixConn) (PeerCredentials, error) {
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

// peerGroups reads SO_PEERGROUPS of unix(7), for which x/sys/unix has no function.
func peerGroups(fd uintptr) ([]uint32, error) {
	groups := make([]uint32, 32)
	for {
		size := uint32(len(groups)) * 4 // bytes; the kernel says how many it uses or needs
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

// Peer names who sent a request: "uid 0 (pid 42)" over the control socket, over TCP the address and what it was admitted by.
func Peer(r *http.Request) string {
	if identity, ok := r.Context().Value(identityKey{}).(string); ok {
		return identity
	}
	if cred, ok := r.Context().Value(credentialsKey{}).(PeerCredentials); ok {
		return fmt.Sprintf("uid %d (pid %d)", cred.UID, cred.PID)
	}
	return r.RemoteAddr
}

// known is the request with who sent it, for Peer.
func known(r *http.Request, identity string) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), identityKey{}, identity))
}

// secureState says what TLS knows about the request's connection; nil when it is plain.
func secureState(r *http.Request) *tls.ConnectionState {
	c, ok := r.Context().Value(connKey{}).(*securedConn)
	if !ok {
		return nil
	}
	t := c.secure.Load()
	if t == nil {
		return nil
	}
	state := t.ConnectionState()
	return &state
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
