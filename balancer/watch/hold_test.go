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
)

const beat = ": heartbeat\n\n" // as agents send it

// counted is a connection that counts what is read of it at a time.
type counted struct {
	*net.TCPConn
	reads int
}

// Read implements io.Reader.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if n > 0 {
		c.reads++
	}
	return n, err
}

// lent is a stream over a real connection whose other end send has, with the signs of life that are told of it while heartbeats are held back.
func lent(t *testing.T, lease time.Duration, send func(there net.Conn)) (*Stream, *counted, <-chan time.Time) {
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
	here := &counted{TCPConn: conn.(*net.TCPConn)}
	t.Cleanup(func() { _ = here.Close(); _ = l.Close(); sending.Wait() })
	ahead := &bounded{Conn: here, left: math.MaxInt}
	s := newStream(ahead, bufio.NewReaderSize(ahead, bufferSize), "web", lease)
	heard := make(chan time.Time, 1000)
	leases := NewHeartbeatMonitor()
	ctx, end := context.WithCancel(context.Background())
	var looking sync.WaitGroup
	looking.Go(func() { leases.Run(ctx) })
	t.Cleanup(func() { end(); looking.Wait() })
	s.Lend(leases, func(at time.Time) { heard <- at })
	return s, here, heard
}

// held is a lent stream that has had its first event and holds heartbeats back.
func held(t *testing.T, lease time.Duration, send func(there net.Conn)) (*Stream, *counted, <-chan time.Time) {
	t.Helper()
	s, here, heard := lent(t, lease, send)
	if r, news, err := s.Next(); err != nil || !news || r.Health != 92 {
		t.Fatalf("the first event gave %+v, %v, %v", r, news, err)
	}
	s.Hold()
	if !s.held.on {
		t.Fatal("the kernel refuses to hold heartbeats back")
	}
	return s, here, heard
}

func TestHeartbeatsWaitForTheNextEvent(t *testing.T) {
	if len(beat)*3 >= leastEvent || len(wire("1", healthData(0))) < leastEvent {
		t.Fatalf("3 heartbeats of %d bytes are to be less than the shortest event, %d", len(beat), leastEvent)
	}
	goOn := make(chan struct{})
	s, conn, _ := held(t, time.Minute, func(there net.Conn) {
		_, _ = io.WriteString(there, wire("1-1", healthData(92)))
		<-goOn
		for _, sent := range []string{beat, beat, beat, `event:health` + "\n" + `data:{"service":"web","health":0}` + "\n\n"} {
			if _, err := io.WriteString(there, sent); err != nil {
				t.Error(err)
			}
		}
		<-goOn
	})
	before := conn.reads
	goOn <- struct{}{}
	for told := false; !told; { // heartbeats come only with the event, those that were not thrown away before
		r, news, err := s.Next()
		if told = news; err != nil || news != (r.Health == 0) {
			t.Fatalf("got %+v, %v, %v", r, news, err)
		}
	}
	if reads := conn.reads - before; reads > 1 {
		t.Errorf("three heartbeats and an event were read %d times, want once at the most, when the event came", reads)
	}
	close(goOn)
	if _, _, err := s.Next(); err == nil || errors.Is(err, errLease) {
		t.Errorf("its end gave %v", err)
	}
}

// However long a stream lives, no heartbeat wakes: together they would be as long as an event after a few leases.
func TestHeartbeatsThatWaitKeepAStreamAlive(t *testing.T) {
	const lease, sent = 300 * time.Millisecond, 9
	beats := make(chan time.Time, sent) // when they were sent
	s, conn, heard := held(t, lease, func(there net.Conn) {
		_, _ = io.WriteString(there, wire("1-1", healthData(92)))
		tick := time.NewTicker(lease / 2)
		defer tick.Stop()
		for range sent {
			<-tick.C
			beats <- time.Now()
			_, _ = io.WriteString(there, beat)
		}
		_, _ = there.Read(make([]byte, 1)) // until the other side gives up
	})
	if r, news, err := s.Next(); !errors.Is(err, errLease) {
		t.Errorf("heartbeats gave %+v, %v, %v", r, news, err)
	}
	ended := time.Now()
	s.Close()
	if conn.reads != 1 {
		t.Errorf("%d reads that waited, want none beyond the first", conn.reads)
	}
	for range sent - 1 {
		<-beats
	}
	last := <-beats
	if lived := ended.Sub(last); lived < shortest(lease)-20*time.Millisecond {
		t.Errorf("it ended %s after the last heartbeat, want %s of a lease of %s", lived, shortest(lease), lease)
	}
	signs, latest := len(heard), time.Time{}
	for range signs {
		latest = <-heard
	}
	if signs < sent/2 || latest.Sub(last).Abs() > lease/2 {
		t.Errorf("it was heard of %d times, at last %s after the last heartbeat", signs, latest.Sub(last))
	}
}

func TestWhatOnlyTricklesIsNoSignOfLifeForLong(t *testing.T) {
	for name, sent := range map[string]string{"bytes": "x", "short comments": ":\n\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const lease = 500 * time.Millisecond
			s, _, _ := held(t, lease, func(there net.Conn) {
				_, _ = io.WriteString(there, wire("1-1", healthData(92)))
				tick := time.NewTicker(lease / 5)
				defer tick.Stop()
				for err := error(nil); err == nil; _, err = io.WriteString(there, sent) {
					<-tick.C
				}
			})
			defer time.AfterFunc(5*lease, s.Close).Stop()
			for {
				_, _, err := s.Next()
				if err != nil && errors.Is(err, errLease) != (sent == "x") {
					t.Errorf("after a while it ended with %v", err)
				}
				if err != nil {
					return
				}
				s.Hold()
			}
		})
	}
}

func TestTheRestOfAnEventIsNotHeldBack(t *testing.T) {
	goOn := make(chan struct{})
	whole := wire("1-2", healthData(7))
	s, _, _ := held(t, patience, func(there net.Conn) {
		_, _ = io.WriteString(there, wire("1-1", healthData(92)))
		<-goOn
		_, _ = io.WriteString(there, beat+whole[:len(whole)-9]) // the heartbeat is read first, and the rest of the event later
		<-goOn
		_, _ = io.WriteString(there, whole[len(whole)-9:])
		<-goOn
	})
	goOn <- struct{}{}
	if _, news, err := s.Next(); err != nil || news {
		t.Fatalf("the heartbeat gave %v, %v", news, err)
	}
	s.Hold()
	goOn <- struct{}{}
	if r, news, err := s.Next(); err != nil || !news || r.Health != 7 {
		t.Errorf("the event gave %+v, %v, %v", r, news, err)
	}
	close(goOn)
}

func TestAnEventThatHasBeenReadIsNotHeldBack(t *testing.T) {
	done := make(chan struct{})
	defer close(done)
	s, _, _ := lent(t, 5*time.Second, func(there net.Conn) {
		_, _ = io.WriteString(there, wire("1-1", healthData(92))+wire("1-2", healthData(0)))
		<-done
	})
	for _, want := range []int{92, 0} {
		if r, news, err := s.Next(); err != nil || !news || r.Health != want {
			t.Fatalf("got %+v, %v, %v; want a health of %d", r, news, err, want)
		}
		s.Hold()
	}
}

func TestStreamsAreLookedAtTogetherAndEndInTime(t *testing.T) {
	const lease = 2 * time.Second
	second := time.Unix(1_700_000_000, 0) // a moment that all share
	for name, tt := range map[string]struct{ heard, want time.Duration }{
		"just now":                   {0, lease},
		"half a heartbeat ago":       {-450 * time.Millisecond, time.Second},
		"a heartbeat ago":            {-900 * time.Millisecond, time.Second},
		"one heartbeat is missing":   {-1250 * time.Millisecond, 600 * time.Millisecond},
		"two are missing, nearly":    {-1790 * time.Millisecond, 200 * time.Millisecond},
		"heard of at a later moment": {300 * time.Millisecond, lease},
	} {
		t.Run(name, func(t *testing.T) {
			h := &holding{lease: lease}
			for _, late := range []time.Duration{0, time.Millisecond} {
				if got := h.moment(second.Add(late), second.Add(late+tt.heard)).Sub(second); got != tt.want {
					t.Errorf("checked %s late, the next check is after %s, want %s", late, got, tt.want)
				}
			}
		})
	}
}
