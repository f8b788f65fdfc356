package listen

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// activationSocket returns a listening socket as the service manager passes it: a named descriptor.
func activationSocket(t *testing.T, name, network, address string) (*os.File, net.Addr) {
	t.Helper()
	l, err := listenConfig().Listen(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	defer l.Close()
	f, err := l.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd, err := unix.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), name), l.Addr()
}

func TestInheritedSocketsReplaceTheConfiguredAddresses(t *testing.T) {
	path := filepath.Join(shortDir(t), "agent.sock")
	tcp, addr := activationSocket(t, "agent.listen", "tcp", "127.0.0.1:0")
	control, _ := activationSocket(t, "agent.control", "unix", path)
	odd, _ := activationSocket(t, "lb-agent.socket", "tcp", "127.0.0.1:0")
	sockets, err := socketsFromFiles([]*os.File{tcp, control, odd})
	if err != nil {
		t.Fatal(err)
	}
	d := testDaemon()
	d.Sockets = sockets
	reads, err := d.ListenHTTP(t.Context(), "192.0.2.1:1") // an address that could not be bound
	if err != nil {
		t.Fatal(err)
	}
	changes, err := d.ListenControl(t.Context(), "/nonexistent/agent.sock", &Policy{})
	if err != nil {
		t.Fatal(err)
	}
	if left := sockets.Unclaimed(); !slices.Equal(left, []string{"lb-agent.socket"}) {
		t.Errorf("unclaimed: %q", left)
	}
	if err := sockets.Close(); err != nil {
		t.Error(err)
	}
	for _, l := range []struct {
		net.Listener
		network, address string
	}{{reads, "tcp", addr.String()}, {changes, "unix", path}} {
		client, err := net.Dial(l.network, l.address)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if got, err := io.ReadAll(client); len(got) > 0 || err != nil {
			t.Errorf("%s: %q, %v", l.address, got, err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the service manager's socket was removed: %v", err)
	}
	other, err := d.ListenTCP(t.Context(), "agent.listen", "127.0.0.1:0") // claimed once already, so it binds the address
	if err != nil {
		t.Fatal(err)
	}
	other.Close()
}

func TestInheritedSocketsOfTheWrongKindAreRejected(t *testing.T) {
	tcp, _ := activationSocket(t, "agent.control", "tcp", "127.0.0.1:0")
	sockets, err := socketsFromFiles([]*os.File{tcp})
	if err != nil {
		t.Fatal(err)
	}
	defer sockets.Close()
	d := testDaemon()
	d.Sockets = sockets
	path := filepath.Join(shortDir(t), "agent.sock")
	l, err := d.ListenControl(t.Context(), path, &Policy{})
	if err == nil || l != nil || !strings.Contains(err.Error(), "agent.control") || !strings.Contains(err.Error(), "Unix") {
		t.Errorf("a TCP socket for agent.control: %v, %v", l, err)
	}
	one, _ := activationSocket(t, "agent.listen", "tcp", "127.0.0.1:0")
	two, _ := activationSocket(t, "agent.listen", "tcp", "127.0.0.1:0")
	if s, err := socketsFromFiles([]*os.File{one, two}); err == nil || s != nil || !strings.Contains(err.Error(), "FileDescriptorName=") {
		t.Errorf("two with one name: %v, %v", s, err)
	}
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := socketsFromFiles([]*os.File{file}); err == nil || s != nil || !strings.Contains(err.Error(), "ListenStream=") {
		t.Errorf("not a socket: %v, %v", s, err)
	}
	if s, err := socketsFromFiles(nil); s != nil || err != nil || s.Unclaimed() != nil || s.Close() != nil {
		t.Errorf("none: %v, %v", s, err)
	}
}
