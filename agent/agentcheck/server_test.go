package agentcheck

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// errTaken is the error of listening on the address "taken".
var errTaken = errors.New("the port is in use")

// bench is a server under test. Its addresses are names, each mapped to a port on 127.0.0.1.
type bench struct {
	*Server
	t *testing.T

	mu     sync.Mutex
	addrs  map[string]net.Addr
	opened map[string]int
}

func newBench(t *testing.T, ports ...Port) *bench {
	t.Helper()
	b := &bench{t: t, addrs: map[string]net.Addr{}, opened: map[string]int{}}
	b.Server = New(Options{
		Listen: b.listen,
		Find: func(service string) (State, bool) {
			health, known := map[string]int{"webapp": 85, "zero": 0, "other": 7}[service]
			return State{Health: health, Measured: health}, known
		},
		Log: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(b.Close)
	b.set(ports...)
	return b
}

func (b *bench) listen(_ context.Context, _, address string) (net.Listener, error) {
	if address == "taken" {
		return nil, errTaken
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.addrs[address] = l.Addr()
		b.opened[address]++
	}
	return l, err
}

func (b *bench) set(ports ...Port) {
	b.t.Helper()
	c, err := b.Prepare(b.t.Context(), ports)
	if err != nil {
		b.t.Fatal(err)
	}
	c.Commit()
}

func (b *bench) dial(address string) *net.TCPConn {
	b.t.Helper()
	conn, err := net.Dial("tcp", b.addrs[address].String())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		b.t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

// query sends a text and returns the answer, up to the end of the connection.
func (b *bench) query(address, send string) string {
	b.t.Helper()
	conn := b.dial(address)
	defer conn.Close()
	if _, err := io.WriteString(conn, send); err != nil {
		b.t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if err != nil {
		b.t.Errorf("after %q: %v", send, err)
	}
	return string(got)
}

func (b *bench) want(address, send, want string) {
	b.t.Helper()
	if got := b.query(address, send); got != want {
		b.t.Errorf("the answer to %.40q on %s is %q, want %q", send, address, got, want)
	}
}

func TestOnlyASharedPortReadsTheName(t *testing.T) {
	b := newBench(t, Port{Address: "shared"}, Port{Address: "web", Service: "webapp"}, Port{Address: "gone", Service: "nope"})
	const up = "ready\tup\t85%\r\n"
	b.want("shared", "webapp\n", up)
	b.want("shared", "zero\r\n", "down\t0%\r\n")
	b.want("shared", "nope\n", "fail #this agent has no service nope\r\n")
	b.want("shared", "WEBAPP\n", "fail #this agent has no service WEBAPP\r\n")
	b.want("shared", "webapp \n", "fail #"+errName.Error()+"\r\n")
	b.want("web", "", up)
	b.want("web", "zero\n", up)
	b.want("web", strings.Repeat("x", 2000), up)
	b.want("gone", "", "fail #this agent has no service nope\r\n")

	conn := b.dial("shared")
	if _, err := io.WriteString(conn, "webapp"); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != up {
		t.Errorf("the answer to a name without LF is %q, %v", got, err)
	}
}

// litmus-agent-check -w 2 blocks while two clients are silent, and loses a process with each reset.
func TestSilentClientsAndResetsBlockNobody(t *testing.T) {
	b := newBench(t, Port{Address: "shared"}, Port{Address: "web", Service: "webapp"})
	for range 300 {
		conn := b.dial("shared")
		if err := conn.SetLinger(0); err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	b.want("shared", "webapp\n", "ready\tup\t85%\r\n")
	for range maxClients - 1 {
		b.dial("shared")
	}
	b.want("shared", "webapp\n", "ready\tup\t85%\r\n")
	b.want("web", "", "ready\tup\t85%\r\n")
	b.dial("shared") // one more: the port is full
	b.dial("shared")
	b.want("web", "", "ready\tup\t85%\r\n")
	b.want("shared", "webapp\n", "ready\tup\t85%\r\n") // after the silent clients are cut off
}

func TestASilentClientIsCutOff(t *testing.T) {
	for _, sent := range []string{"", "webapp"} {
		synctest.Test(t, func(t *testing.T) {
			s := New(Options{Log: slog.New(slog.DiscardHandler)})
			here, there := net.Pipe()
			start := time.Now()
			var serving sync.WaitGroup
			serving.Go(func() { s.handle(there, "") })
			if _, err := io.WriteString(here, sent); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(here)
			serving.Wait()
			if took := time.Since(start); len(got) > 0 || err != nil || took != clientTimeout {
				t.Errorf("after %q it got %q, %v in %s; want nothing in %s", sent, got, err, took, clientTimeout)
			}
		})
	}
}

func TestCloseDisconnectsSilentClients(t *testing.T) {
	b := newBench(t, Port{Address: "shared"})
	conn := b.dial("shared")
	b.want("shared", "webapp\n", "ready\tup\t85%\r\n") // the silent connection has been accepted, too
	start := time.Now()
	b.Close()
	if took := time.Since(start); took > clientTimeout/2 {
		t.Errorf("it took %s", took)
	}
	if got, err := io.ReadAll(conn); len(got) > 0 || err != nil {
		t.Errorf("the silent client got %q, %v", got, err)
	}
	if _, err := net.Dial("tcp", b.addrs["shared"].String()); err == nil {
		t.Error("the port is still open")
	}
}

func TestAChangeOpensAndClosesPortsAndLeavesTheOthersAlone(t *testing.T) {
	b := newBench(t, Port{Address: "stays", Service: "webapp"}, Port{Address: "goes", Service: "webapp"}, Port{Address: "turns"})
	waiting := b.dial("turns")
	b.want("turns", "zero\n", "down\t0%\r\n")
	b.set(Port{Address: "stays", Service: "webapp"}, Port{Address: "turns", Service: "other"}, Port{Address: "new"})
	for address, want := range map[string]int{"stays": 1, "turns": 1, "new": 1} {
		if b.opened[address] != want {
			t.Errorf("%s was opened %d times, want %d", address, b.opened[address], want)
		}
	}
	b.want("stays", "", "ready\tup\t85%\r\n")
	b.want("turns", "", "ready\tup\t7%\r\n")
	b.want("new", "other\n", "ready\tup\t7%\r\n")
	if _, err := net.Dial("tcp", b.addrs["goes"].String()); err == nil {
		t.Error("a removed port is still open")
	}
	if _, err := io.WriteString(waiting, "webapp\n"); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(waiting); err != nil || string(got) != "ready\tup\t85%\r\n" {
		t.Errorf("a client that connected before the change got %q, %v", got, err)
	}
}

func TestAChangeThatCannotBeBoundChangesNothing(t *testing.T) {
	b := newBench(t, Port{Address: "stays", Service: "webapp"})
	_, err := b.Prepare(t.Context(), []Port{{Address: "new"}, {Address: "taken"}, {Address: "stays", Service: "other"}})
	if !errors.Is(err, errTaken) {
		t.Errorf("Prepare = %v, want %v", err, errTaken)
	}
	b.want("stays", "", "ready\tup\t85%\r\n")
	if _, err := net.Dial("tcp", b.addrs["new"].String()); err == nil {
		t.Error("a port of the change is left open")
	}
}

func TestAPortThatIsInTheWayOfAnotherIsNamed(t *testing.T) {
	b := newBench(t, Port{Address: ":9301", Service: "webapp"}, Port{Address: ":9302"})
	b.opts.Listen = func(context.Context, string, string) (net.Listener, error) { return nil, errTaken }
	_, err := b.Prepare(t.Context(), []Port{{Key: "agent.agent_check", Address: "127.0.0.1:9301"}, {Address: ":9302"}})
	if !errors.Is(err, errTaken) || !strings.Contains(err.Error(), "agent.agent_check: this agent itself still listens on :9301") {
		t.Errorf("Prepare = %v", err)
	}
	if _, err := b.Prepare(t.Context(), []Port{{Address: "127.0.0.1:9302"}, {Address: ":9302"}, {Address: ":9301"}}); err == nil ||
		strings.Contains(err.Error(), "itself") {
		t.Errorf("Prepare = %v, but :9302 stays", err)
	}
}

// failing is a listener whose Accept fails a number of times.
type failing struct {
	net.Listener
	times int
}

func (f *failing) Accept() (net.Conn, error) {
	if f.times > 0 {
		f.times--
		return nil, errors.New("too many open files")
	}
	return f.Listener.Accept()
}

func TestAcceptIsRetriedAfterAnError(t *testing.T) {
	b := newBench(t)
	var log bytes.Buffer
	b.opts.Log = slog.New(slog.NewTextHandler(&log, nil))
	b.opts.Listen = func(ctx context.Context, key, address string) (net.Listener, error) {
		l, err := b.listen(ctx, key, address)
		return &failing{l, 4}, err
	}
	b.set(Port{Address: "web", Service: "webapp"})
	b.want("web", "", "ready\tup\t85%\r\n")
	b.Close()
	if n := strings.Count(log.String(), "too many open files"); n != 1 {
		t.Errorf("%d lines in the log, want 1:\n%s", n, &log)
	}
}
