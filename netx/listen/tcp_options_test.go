package listen

import (
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAcceptedConnectionsInheritTheTimeouts(t *testing.T) {
	inheritedFile, _ := activationSocket(t, "agent.listen", "tcp", "127.0.0.1:0")
	sockets, err := socketsFromFiles([]*os.File{inheritedFile})
	if err != nil {
		t.Fatal(err)
	}
	own, managed := testDaemon(), testDaemon()
	managed.Sockets = sockets
	for name, d := range map[string]Daemon{"bound": own, "from the service manager": managed} {
		t.Run(name, func(t *testing.T) {
			l, err := d.ListenHTTP(t.Context(), "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Write([]byte("G")); err != nil {
				t.Fatal(err)
			}
			accepted, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer accepted.Close()
			raw, err := accepted.(*net.TCPConn).SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			if err := raw.Control(func(fd uintptr) {
				for _, o := range []struct {
					what              string
					level, name, want int
				}{
					{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
					{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15},
					{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15},
					{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 15000},
					{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
				} {
					if got, err := unix.GetsockoptInt(int(fd), o.level, o.name); err != nil || got != o.want {
						t.Errorf("%s is %d, %v, want %d", o.what, got, err, o.want)
					}
				}
			}); err != nil {
				t.Error(err)
			}
		})
	}
}

// An idle connection is accepted too, about a second later, so that the limits apply to it.
func TestIdleConnectionsAreAcceptedAfterThoseWithData(t *testing.T) {
	l, err := testDaemon().ListenHTTP(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var clients [2]net.Conn
	for i := range clients {
		if clients[i], err = net.Dial("tcp", l.Addr().String()); err != nil {
			t.Fatal(err)
		}
		defer clients[i].Close()
	}
	if _, err := clients[1].Write([]byte("G")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []net.Conn{clients[1], clients[0]} {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got := c.RemoteAddr().String(); got != want.LocalAddr().String() {
			t.Errorf("accepted %s, want %s", got, want.LocalAddr())
		}
	}
}
