//go:build bench

package bench

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of processor time in /proc/PID/stat: Linux shows programs 100 a second everywhere.
const tick = 10 * time.Millisecond

// used is processor time since the start.
type used struct {
	own      time.Duration
	children time.Duration // that have ended and were waited for
}

// used reads /proc/PID/stat, see proc(5).
func (s *target) used(t *testing.T) used {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), ") ") // the name before may hold anything
	fields := strings.Fields(rest)
	const utime = 14 - 3 // fields are counted from 1, and two are cut off
	var n [4]time.Duration
	for i := range n {
		if len(fields) <= utime+i {
			t.Fatalf("/proc/%d/stat: %q", s.pid, data)
		}
		v, err := strconv.ParseInt(fields[utime+i], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		n[i] = time.Duration(v) * tick
	}
	return used{own: n[0] + n[1], children: n[2] + n[3]}
}

// share is processor time as a part of a core.
type share struct{ own, children float64 }

// idle measures a server that nobody asks anything.
func (s *target) idle(t *testing.T, long time.Duration) share {
	t.Helper()
	<-time.After(restTime)
	before, begun := s.used(t), time.Now()
	<-time.After(long)
	after, took := s.used(t), time.Since(begun)
	return share{own: float64(after.own-before.own) / float64(took), children: float64(after.children-before.children) / float64(took)}
}

// resident reads how many bytes of memory the kernel counts for the server, now and at most so far.
func (s *target) resident(t *testing.T) (now, peak uint64) {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		kib, _ := strconv.ParseUint(fields[1], 10, 64)
		switch fields[0] {
		case "VmRSS:":
			now = kib << 10
		case "VmHWM:":
			peak = kib << 10
		}
	}
	if now == 0 || peak == 0 {
		t.Fatalf("/proc/%d/status tells no memory", s.pid)
	}
	return now, peak
}

// loadAverage is that of the last minute: how busy the machine is otherwise.
func loadAverage(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(data), " ")
	return first
}

// first has a server go before all other work on the machine, or no longer, and tells whether this process may ask for that. What such work
// does to the wait for an answer says nothing about the server.
func (s *target) first(t *testing.T, urgent bool) bool {
	t.Helper()
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", s.pid))
	if err != nil {
		t.Fatal(err)
	}
	var priority uint32
	if urgent {
		priority = urgentPriority
	}
	for _, thread := range threads { // those that they start inherit it
		tid, err := strconv.Atoi(thread.Name())
		if err != nil {
			t.Fatal(err)
		}
		if err := schedule(tid, priority); err != nil && !errors.Is(err, unix.ESRCH) {
			t.Logf("the priority of %s stays: %v", s.name, err)
			return false
		}
	}
	return true
}

// urgentPriority is that of servers and generators that go first.
const urgentPriority = 1

// schedule gives a thread (0: this one) a real-time priority, or the usual one for 0, see sched(7).
func schedule(tid int, priority uint32) error {
	a := unix.SchedAttr{Size: unix.SizeofSchedAttr}
	if priority > 0 {
		a.Policy, a.Priority = unix.SCHED_FIFO, priority
	}
	return unix.SchedSetAttr(tid, &a, 0)
}
