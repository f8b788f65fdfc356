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

// tick is the unit of processor time in /proc/PID/stat: Linux reports 100 ticks per second on all architectures.
const tick = 10 * time.Millisecond

// cpuTime is processor time since the start of a process.
type cpuTime struct {
	own      time.Duration
	children time.Duration // of children that have ended and were waited for
}

// cpuTime reads /proc/PID/stat, see proc(5).
func (s *target) cpuTime(t *testing.T) cpuTime {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), ") ") // the process name before may contain anything
	fields := strings.Fields(rest)
	const utime = 14 - 3 // fields count from 1, and the first two are cut off
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
	return cpuTime{own: n[0] + n[1], children: n[2] + n[3]}
}

// share is processor time as a share of a core.
type share struct{ own, children float64 }

// idle measures a server without requests.
func (s *target) idle(t *testing.T, d time.Duration) share {
	t.Helper()
	<-time.After(restTime)
	before, begun := s.cpuTime(t), time.Now()
	<-time.After(d)
	after, took := s.cpuTime(t), time.Since(begun)
	return share{own: float64(after.own-before.own) / float64(took), children: float64(after.children-before.children) / float64(took)}
}

// resident is the server's resident memory in bytes, now and at its peak.
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
		t.Fatalf("/proc/%d/status has no memory usage", s.pid)
	}
	return now, peak
}

// loadAverage is the load average of the last minute.
func loadAverage(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(data), " ")
	return first
}

// prioritize gives a server priority over all other work on the machine, which would distort its latency, or
// resets its priority. It reports whether this process is permitted to.
func (s *target) prioritize(t *testing.T, urgent bool) bool {
	t.Helper()
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", s.pid))
	if err != nil {
		t.Fatal(err)
	}
	var priority uint32
	if urgent {
		priority = urgentPriority
	}
	for _, thread := range threads { // new threads inherit it
		tid, err := strconv.Atoi(thread.Name())
		if err != nil {
			t.Fatal(err)
		}
		if err := schedule(tid, priority); err != nil && !errors.Is(err, unix.ESRCH) {
			t.Logf("cannot change the priority of %s: %v", s.name, err)
			return false
		}
	}
	return true
}

// urgentPriority is the priority of urgent servers and generators.
const urgentPriority = 1

// schedule gives a thread (0: this one) a real-time priority (0: the default policy), see sched(7).
func schedule(tid int, priority uint32) error {
	a := unix.SchedAttr{Size: unix.SizeofSchedAttr}
	if priority > 0 {
		a.Policy, a.Priority = unix.SCHED_FIFO, priority
	}
	return unix.SchedSetAttr(tid, &a, 0)
}
