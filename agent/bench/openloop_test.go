//go:build bench

package bench

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// delays are times from when a request was due to its answer. They include waiting for a free connection.
type delays []time.Duration // sorted

// at is the quantile of a share from 0 to 1.
func (d delays) at(share float64) time.Duration { return d[min(len(d)-1, int(share*float64(len(d))))] }

func (d delays) String() string {
	rounded := func(quantile float64) time.Duration { return d.at(quantile).Round(time.Microsecond) }
	return fmt.Sprintf("50 of 100 within %s, 90 within %s, 99 within %s, 999 of 1000 within %s, all %d within %s",
		rounded(0.5), rounded(0.9), rounded(0.99), rounded(0.999), len(d), rounded(1))
}

// answer is a received answer.
type answer struct {
	due, at time.Time // when the request was due and when the answer was complete
}

// window is a period of constant load.
type window struct {
	answers []answer
	steals  []steal // of the server's core and of the generator's
}

// delaysOf lists the delays of all answers, or only of those not disturbed by a steal.
func delaysOf(windows []window, undisturbed bool) delays {
	var all delays
	for _, w := range windows {
		for _, a := range w.answers {
			if !undisturbed || !disturbed(a.due, a.at, w.steals) {
				all = append(all, a.at.Sub(a.due))
			}
		}
	}
	slices.Sort(all)
	return all
}

// line is one connection.
type line struct {
	fd   int
	due  time.Time // when the current request was due; zero: idle
	got  []byte
	want int // size of the whole answer in bytes; 0 until its header is complete
}

// openLoop sends requests at a constant rate, whether or not answers arrive, over a few persistent
// connections. It does not sleep, so that the precision of timers does not matter. If urgent, it has a higher
// priority than all other work on the machine, like the server, and records steals.
func openLoop(t *testing.T, s *target, perSecond float64, urgent bool) (w window) {
	t.Helper()
	if urgent {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU() + 2)) // the generator and watchCore must not wait for each other
		defer debug.SetGCPercent(debug.SetGCPercent(-1))
		stop := watchCore(t, serveCore)
		defer func() { w.steals = append(w.steals, stop()...) }()
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := schedule(0, urgentPriority); err != nil {
			t.Fatal(err)
		}
		defer schedule(0, 0)
	}
	lines := make([]*line, clients)
	for i := range lines {
		lines[i] = dial(t, s.address)
		defer unix.Close(lines[i].fd)
	}
	request := []byte("GET /" + s.path() + " HTTP/1.1\r\nHost: " + s.address + "\r\n\r\n")
	step := time.Duration(float64(time.Second) / perSecond)
	begun := time.Now()
	last, next, end := begun, begun, begun.Add(loadTime)
	buf := make([]byte, 1<<16)
	for waiting := 0; next.Before(end) || waiting > 0; {
		now := time.Now()
		if now.After(end.Add(startTimeout)) {
			t.Fatalf("%s: %d answers are missing", s.name, waiting)
		}
		if urgent && now.Sub(last) > 2*watchInterval {
			w.steals = append(w.steals, steal{last, now})
		}
		last = now
		for _, l := range lines {
			if l.due.IsZero() {
				if next.After(now) || !next.Before(end) {
					continue
				}
				if _, err := unix.Write(l.fd, request); err != nil {
					t.Fatalf("%s: write: %v", s.name, err)
				}
				l.due, next = next, next.Add(step)
				waiting++
				continue
			}
			complete, err := l.read(buf)
			if err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
			if complete {
				w.answers = append(w.answers, answer{l.due, time.Now()})
				l.due = time.Time{}
				waiting--
			}
		}
	}
	return w
}

// path is the path of the URL, without its first slash.
func (s *target) path() string { return s.url[len("http://"+s.address+"/"):] }

func dial(t *testing.T, address string) *line {
	t.Helper()
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.SetNonblock(fd, true),
	} {
		if err != nil {
			t.Fatalf("connect to %s: %v", address, err)
		}
	}
	return &line{fd: fd}
}

// read reads what has arrived, and reports whether the answer is complete.
func (l *line) read(buf []byte) (complete bool, err error) {
	n, err := unix.Read(l.fd, buf)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read: %w", err)
	case n == 0:
		return false, errors.New("the server closed the connection")
	}
	l.got = append(l.got, buf[:n]...)
	if l.want == 0 {
		if l.want, err = lengthOf(l.got); err != nil {
			return false, err
		}
	}
	if l.want == 0 || len(l.got) < l.want {
		return false, nil
	}
	l.got, l.want = l.got[:0], 0
	return true, nil
}

// lengthOf reads the size of an answer from its header, 0 if the header is incomplete.
func lengthOf(answer []byte) (int, error) {
	header, _, complete := bytes.Cut(answer, []byte("\r\n\r\n"))
	if !complete {
		return 0, nil
	}
	if !bytes.HasPrefix(header, []byte("HTTP/1.1 200 ")) {
		return 0, fmt.Errorf("answer %q", header)
	}
	_, rest, _ := bytes.Cut(header, []byte("\r\nContent-Length: "))
	digits, _, _ := bytes.Cut(rest, []byte("\r\n"))
	n, err := strconv.Atoi(string(digits))
	if err != nil {
		return 0, fmt.Errorf("answer without a length: %q", header)
	}
	return len(header) + len("\r\n\r\n") + n, nil
}
