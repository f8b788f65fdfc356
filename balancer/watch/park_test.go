package watch

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/braintree/lb/balancer/decide"
)

const heartbeat = ": heartbeat\n\n" // as agents send it

// countingConn counts the reads that return data.
type countingConn struct {
	*net.TCPConn
	reads int
}

// Read implements io.Reader.
func (c *countingConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if n > 0 {
		c.reads++
	}
	return n, err
}

// monitored returns a stream over a real connection, whose other end send has, and the heartbeats that the monitor reports.
func monitored(t *testing.T, timeout time.Duration, send func(there net.Conn)) (*stream, *countingConn, <-chan time.Time) {
	t.Helper()
	l := listenOn(t, "127.0.0.1:0")
	var sending sync.WaitGroup
	sending.Go(func() {
		there, err := l.Accept()
		if err != nil {
			return
		}
		defer there.Close()
		send(there)
	})
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	here := &countingConn{TCPConn: conn.(*net.TCPConn)}
	t.Cleanup(func() { _ = here.Close(); _ = l.Close(); sending.Wait() })
	limited := &limitedConn{Conn: here, remaining: math.MaxInt}
	s := newStream(limited, bufio.NewReaderSize(limited, bufferSize), "web", timeout)
	seen := make(chan time.Time, 1000)
	monitor := NewHeartbeatMonitor()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { monitor.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	s.parkUnder(parkedLife{monitor, func(at time.Time) { seen <- at }, func(time.Time) bool { return false }})
	return s, here, seen
}

// parked returns a monitored stream that has had its first event and is parked.
func parked(t *testing.T, timeout time.Duration, send func(there net.Conn)) (*stream, *countingConn, <-chan time.Time) {
	t.Helper()
	s, here, seen := monitored(t, timeout, send)
	if r, isEvent, err := s.Next(); err != nil || !isEvent || r.Health != 92 {
		t.Fatalf("got %+v, %v, %v for the first event", r, isEvent, err)
	}
	s.park()
	if !s.parking.parked {
		t.Fatal("the kernel refused to hold heartbeats back")
	}
	return s, here, seen
}

func TestHeartbeatsDoNotWakeAParkedStream(t *testing.T) {
	if len(heartbeat)*3 >= minEventSize || len(healthFrame("1", healthData(0))) < minEventSize {
		t.Fatalf("3 heartbeats of %d bytes must be shorter than the shortest event, %d", len(heartbeat), minEventSize)
	}
	goOn := make(chan struct{})
	s, conn, _ := parked(t, time.Minute, func(there net.Conn) {
		_, _ = io.WriteString(there, healthFrame("1-1", healthData(92)))
		<-goOn
		for _, sent := range []string{heartbeat, heartbeat, heartbeat,
			`event:health` + "\n" + `data:{"service":"web","health":0}` + "\n\n"} {
			if _, err := io.WriteString(there, sent); err != nil {
				t.Error(err)
			}
		}
		<-goOn
	})
	before := conn.reads
	goOn <- struct{}{}
	for isEvent := false; !isEvent; { // heartbeats that were not discarded come with the event
		var r decide.Reading
		var err error
		if r, isEvent, err = s.Next(); err != nil || isEvent != (r.Health == 0) {
			t.Fatalf("got %+v, %v, %v", r, isEvent, err)
		}
	}
	if reads := conn.reads - before; reads > 1 {
		t.Errorf("%d reads for three heartbeats and an event, want 1 at most", reads)
	}
	close(goOn)
	if _, _, err := s.Next(); err == nil || errors.Is(err, errNoHeartbeat) {
		t.Errorf("got %v at its end", err)
	}
}

// No heartbeat wakes the stream, although after a few timeouts they add up to more than the length of an event.
func TestHeartbeatsKeepAParkedStreamAlive(t *testing.T) {
	t.Parallel()
	const timeout, count = time.Second, 9 // half of it is what a busy machine may be late
	sent := make(chan time.Time, count)
	s, conn, seen := parked(t, timeout, func(there net.Conn) {
		_, _ = io.WriteString(there, healthFrame("1-1", healthData(92)))
		tick := time.NewTicker(timeout / 2)
		defer tick.Stop()
		for range count {
			<-tick.C
			sent <- time.Now()
			_, _ = io.WriteString(there, heartbeat)
		}
		_, _ = there.Read(make([]byte, 1)) // until the other side closes it
	})
	if r, isEvent, err := s.Next(); !errors.Is(err, errNoHeartbeat) {
		t.Errorf("got %+v, %v, %v for heartbeats", r, isEvent, err)
	}
	ended := time.Now()
	s.Close()
	if conn.reads != 1 {
		t.Errorf("%d reads, want only the first", conn.reads)
	}
	for range count - 1 {
		<-sent
	}
	last := <-sent
	if lived := ended.Sub(last); lived < minTimeout(timeout)-20*time.Millisecond {
		t.Errorf("it ended %s after the last heartbeat, want %s for a timeout of %s", lived, minTimeout(timeout), timeout)
	}
	reports, latest := len(seen), time.Time{}
	for range reports {
		latest = <-seen
	}
	if reports < count/2 || latest.Sub(last).Abs() > timeout/2 {
		t.Errorf("%d heartbeats reported, the latest %s after the last one was sent", reports, latest.Sub(last))
	}
}

func TestTricklingBytesAreNoHeartbeats(t *testing.T) {
	t.Parallel()
	for name, sent := range map[string]string{"bytes": "x", "short comments": ":\n\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const timeout = time.Second
			s, _, _ := parked(t, timeout, func(there net.Conn) {
				_, _ = io.WriteString(there, healthFrame("1-1", healthData(92)))
				tick := time.NewTicker(timeout / 5)
				defer tick.Stop()
				for err := error(nil); err == nil; _, err = io.WriteString(there, sent) {
					<-tick.C
				}
			})
			defer time.AfterFunc(5*timeout, s.Close).Stop()
			for {
				_, _, err := s.Next()
				if err != nil && errors.Is(err, errNoHeartbeat) != (sent == "x") {
					t.Errorf("it ended with %v", err)
				}
				if err != nil {
					return
				}
				s.park()
			}
		})
	}
}

func TestRestOfAnEventIsNotHeldBack(t *testing.T) {
	goOn := make(chan struct{})
	whole := healthFrame("1-2", healthData(7))
	s, _, _ := parked(t, patience, func(there net.Conn) {
		_, _ = io.WriteString(there, healthFrame("1-1", healthData(92)))
		<-goOn
		_, _ = io.WriteString(there, heartbeat+whole[:len(whole)-9]) // read in two parts: the heartbeat, then the event
		<-goOn
		_, _ = io.WriteString(there, whole[len(whole)-9:])
		<-goOn
	})
	goOn <- struct{}{}
	if _, isEvent, err := s.Next(); err != nil || isEvent {
		t.Fatalf("got %v, %v for the heartbeat", isEvent, err)
	}
	s.park()
	goOn <- struct{}{}
	if r, isEvent, err := s.Next(); err != nil || !isEvent || r.Health != 7 {
		t.Errorf("got %+v, %v, %v for the event", r, isEvent, err)
	}
	close(goOn)
}

func TestBufferedEventIsNotHeldBack(t *testing.T) {
	done := make(chan struct{})
	defer close(done)
	s, _, _ := monitored(t, 5*time.Second, func(there net.Conn) {
		_, _ = io.WriteString(there, healthFrame("1-1", healthData(92))+healthFrame("1-2", healthData(0)))
		<-done
	})
	for _, want := range []int{92, 0} {
		if r, isEvent, err := s.Next(); err != nil || !isEvent || r.Health != want {
			t.Fatalf("got %+v, %v, %v; want a health of %d", r, isEvent, err, want)
		}
		s.park()
	}
}

func TestChecksAreSharedAndTimeoutsAreKept(t *testing.T) {
	const timeout = 2 * time.Second
	second := time.Unix(1_700_000_000, 0) // a common check
	for name, tt := range map[string]struct{ received, want time.Duration }{
		"just now":                 {0, timeout},
		"half a heartbeat ago":     {-450 * time.Millisecond, time.Second},
		"a heartbeat ago":          {-900 * time.Millisecond, time.Second},
		"one heartbeat is missing": {-1250 * time.Millisecond, 600 * time.Millisecond},
		"almost two are missing":   {-1790 * time.Millisecond, 200 * time.Millisecond},
		"300 ms later":             {300 * time.Millisecond, timeout},
	} {
		t.Run(name, func(t *testing.T) {
			p := &parking{timeout: timeout}
			for _, late := range []time.Duration{0, time.Millisecond} {
				if got := p.nextCheck(second.Add(late), second.Add(late+tt.received)).Sub(second); got != tt.want {
					t.Errorf("checked %s late: next check after %s, want %s", late, got, tt.want)
				}
			}
		})
	}
}
