package listen

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testDaemon() Daemon { return Daemon{Name: "agent", Section: "agent"} }

// shortDir returns a temporary folder with a path short enough for a socket.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestListenErrorsNameTheFix(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	dir := shortDir(t)
	file, live := filepath.Join(dir, "file"), filepath.Join(dir, "live")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := testDaemon().ListenControl(t.Context(), live, &Policy{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tcp := func(address string) (net.Listener, error) { return testDaemon().ListenHTTP(t.Context(), address) }
	control := func(path string) (net.Listener, error) {
		return testDaemon().ListenControl(t.Context(), path, &Policy{})
	}
	for _, tc := range []struct {
		name    string
		bind    func(string) (net.Listener, error)
		address string
		want    []string
	}{
		{"port in use", tcp, taken.Addr().String(), []string{taken.Addr().String(), "in use", "sport = :" + port, "agent.listen"}},
		{"an address of another machine", tcp, "192.0.2.1:9293", []string{"does not have that address", "ip address", "agent.listen"}},
		{"a file in place of the socket", control, file, []string{file, "not a socket", "agent.control"}},
		{"a socket path that is too long", control, "/tmp/" + strings.Repeat("x", 200), []string{"107 bytes", "agent.control"}},
		{"a folder that cannot be created", control, file + "/x/s", []string{"folder", "agent.control"}},
		{"a live daemon", control, live, []string{live, "another agent is running", "agent.control"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l, err := tc.bind(tc.address)
			if err == nil {
				l.Close()
				t.Fatal("bound")
			}
			for _, w := range tc.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("no %q in: %v", w, err)
				}
			}
		})
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "precious" {
		t.Errorf("the file contains %q, %v", data, err)
	}
	if c, err := net.Dial("unix", live); err != nil {
		t.Errorf("the live daemon's socket is gone: %v", err)
	} else {
		c.Close()
	}
}

func TestAStaleControlSocketIsReplaced(t *testing.T) {
	path := filepath.Join(shortDir(t), "run", "s")
	for range 2 {
		l, err := testDaemon().ListenControl(t.Context(), path, &Policy{})
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
			t.Errorf("the socket's mode: %v, %v", info, err)
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false) // as kill -9 leaves it
		l.Close()
		if _, err := os.Lstat(path); err != nil {
			t.Fatalf("the test needs a stale socket: %v", err)
		}
	}
}

// TestOfDaemonsThatStartTogetherExactlyOneBindsTheSocket: a daemon that has bound its socket but does not listen yet
// refuses connections just like a dead one.
func TestOfDaemonsThatStartTogetherExactlyOneBindsTheSocket(t *testing.T) {
	for range 20 {
		path := filepath.Join(shortDir(t), "s")
		var mu sync.Mutex // protects bound
		var bound []net.Listener
		var starting sync.WaitGroup
		for range 8 {
			starting.Go(func() {
				l, err := testDaemon().ListenControl(t.Context(), path, &Policy{})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					bound = append(bound, l)
				} else if !strings.Contains(err.Error(), "another agent is running") {
					t.Error(err)
				}
			})
		}
		starting.Wait()
		if len(bound) != 1 {
			t.Errorf("%d daemons bound the socket", len(bound))
		}
		if c, err := net.Dial("unix", path); err != nil {
			t.Errorf("the daemon that bound it is unreachable: %v", err)
		} else {
			c.Close()
		}
		for _, l := range bound {
			l.Close()
		}
		if t.Failed() {
			return
		}
	}
}

func TestConnectionsBeyondTheLimitWaitForAFreeSlot(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := Limit(inner, 2)
	accepted, ended := make(chan net.Conn), make(chan error, 1)
	go func() {
		defer close(accepted)
		for {
			c, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- c
		}
	}()
	for range 4 {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	first, second := <-accepted, <-accepted
	select {
	case <-accepted:
		t.Error("a third connection was accepted")
	case <-time.After(50 * time.Millisecond):
	}
	first.Close()
	first.Close() // a second close must not release another slot
	third := <-accepted
	select {
	case <-accepted:
		t.Error("a fourth connection was accepted")
	case <-time.After(50 * time.Millisecond):
	}
	l.Close() // while Accept waits for a slot
	if _, ok := <-accepted; ok {
		t.Error("accepted after Close")
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
	second.Close()
	third.Close()
}

func TestRequestOrigin(t *testing.T) {
	for _, tc := range []struct {
		name, remote      string
		header            [2]string
		loopback, webPage bool
	}{
		{"this machine", "127.0.0.1:5000", [2]string{}, true, false},
		{"this machine by another loopback address", "127.9.9.9:5000", [2]string{}, true, false},
		{"this machine, IPv6", "[::1]:5000", [2]string{}, true, false},
		{"this machine, IPv4-mapped", "[::ffff:127.0.0.1]:5000", [2]string{}, true, false},
		{"a web page in a browser on this machine", "127.0.0.1:5000", [2]string{"Origin", "http://evil.example"}, true, true},
		{"a web page after DNS rebinding", "127.0.0.1:5000", [2]string{"Origin", "http://example.com"}, true, true},
		{"a cross-site page in a browser with fetch metadata", "127.0.0.1:5000", [2]string{"Sec-Fetch-Site", "cross-site"}, true, true},
		{"another machine", "10.0.0.9:5000", [2]string{}, false, false},
		{"another machine with a forged X-Forwarded-For", "10.0.0.9:5000", [2]string{"X-Forwarded-For", "127.0.0.1"}, false, false},
		{"a malformed address", "@", [2]string{}, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPut, "http://example.com/cluster/web", nil)
			r.RemoteAddr = tc.remote
			if tc.header[0] != "" {
				r.Header.Set(tc.header[0], tc.header[1])
			}
			if fromLoopback(r) != tc.loopback || fromWebPage(r) != tc.webPage {
				t.Errorf("loopback %v, web page %v", fromLoopback(r), fromWebPage(r))
			}
			if got := Peer(r); got != tc.remote {
				t.Errorf("Peer = %q", got)
			}
		})
	}
}
