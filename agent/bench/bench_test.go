//go:build bench

package bench

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	rounds    = 5
	wrkTime   = 3 * time.Second        // per measurement
	windows   = 20                     // at half load, each of loadTime and after a pause of loadTime
	loadTime  = 500 * time.Millisecond // less than the 0.95 s for which the kernel lets a real-time thread run, see sched(7)
	restTime  = 3 * time.Second        // between load and a measurement of idling
	idleTime  = 20 * time.Second
	services  = 50
	clients   = 16 // connections
	serveCore = 0
)

// The goals. Those for requests are relative to nginx with the same processor time; docs/performance.md
// explains them. The others are absolute.
const (
	goalKeepAlive = 0.72             // 12 times litmus_paper
	goalNew       = 0.61             // 5 times litmus_paper
	goalLatency   = time.Millisecond // 99 of 100 answers at half load
	goalResident  = 25 << 20         // bytes
	goalIdle      = 0.005            // of a core

	closeHeader     = "Connection: close" // a new connection for each request
	keepAliveHeader = "Connection: keep-alive"
)

// TestAgent prints a table of all measurements. It fails if one is impossible; a missed goal shows in the table only.
func TestAgent(t *testing.T) {
	lb := startAgent(t, services, fileCheck(t))
	body := lb.get(t)
	nginx := startNginx(t, body)
	targets := append([]*target{lb, nginx}, extraTargets(t)...)
	begun := loadAverage(t)

	for range rounds {
		for _, s := range targets {
			s.kept = append(s.kept, s.saturate(t, keepAliveHeader))
			s.fresh = append(s.fresh, s.saturate(t, closeHeader))
		}
	}
	halfLoad := map[*target][]window{}
	urgent := lb.prioritize(t, true) && nginx.prioritize(t, true)
	for range windows {
		for _, s := range []*target{lb, nginx} {
			<-time.After(loadTime)
			halfLoad[s] = append(halfLoad[s], openLoop(t, s, half(s), urgent))
		}
	}
	lb.prioritize(t, false)
	resident, peak := lb.resident(t)
	idle := lb.idle(t, idleTime)

	var b strings.Builder
	fmt.Fprintf(&b, "%d services of 4 checks at 1 s; status page of %d bytes; %d connections; median (least to most) of %d rounds of %s\n",
		services, len(body), clients, rounds, wrkTime)
	fmt.Fprintf(&b, "load average of the machine %s before, %s after; each server on core %d, wrk on the rest\n\n", begun,
		loadAverage(t), serveCore)
	for _, s := range targets {
		fmt.Fprintf(&b, "%-12s kept alive      %s requests/s, %s µs of processor time each\n", s.name, spread(s.kept, rate, 0),
			spread(s.kept, cost, 1))
		fmt.Fprintf(&b, "%-12s new connection  %s requests/s, %s µs of processor time each\n", "", spread(s.fresh, rate, 0),
			spread(s.fresh, cost, 1))
	}
	fmt.Fprintf(&b, "\nkept alive, each at half of what it answered, before all other work on the machine: %t\n", urgent)
	for _, s := range []*target{lb, nginx} {
		all, undisturbed := delaysOf(halfLoad[s], false), delaysOf(halfLoad[s], true)
		fmt.Fprintf(&b, "%-12s at %.0f requests/s, while neither core was away: %s\n", s.name, half(s), undisturbed)
		fmt.Fprintf(&b, "%-12s %.0f of 100 of them; of all of them                  %s\n", "",
			100*float64(len(undisturbed))/float64(len(all)), all)
	}
	fmt.Fprintf(&b, "\nper core, and processor time:\n")
	for _, s := range targets[1:] {
		fmt.Fprintf(&b, "lb : %-12s kept alive %s, new connection %s\n", s.name, ratios(lb.kept, s.kept), ratios(lb.fresh, s.fresh))
	}
	b.WriteByte('\n')
	for _, g := range []goal{
		{"kept alive, per core, of nginx", middleRatio(lb.kept, nginx.kept), goalKeepAlive, true},
		{"new connection each, of nginx", middleRatio(lb.fresh, nginx.fresh), goalNew, true},
		{"99 of 100 at half load, ms", delaysOf(halfLoad[lb], true).at(0.99).Seconds() * 1e3, goalLatency.Seconds() * 1e3, false},
		{"resident after load, MiB", float64(resident) / (1 << 20), goalResident / (1 << 20), false},
		{"idle, % of a core", idle.own * 100, goalIdle * 100, false},
	} {
		b.WriteString(g.String())
	}
	fmt.Fprintf(&b, "most that was ever resident: %.1f MiB\n", float64(peak)/(1<<20))
	publish(t, b.String())
}

// half is the rate of half load, relative to each server's own maximum.
func half(s *target) float64 { return middle(s.kept, rate) / 2 }

// TestMoreChecks measures how the cost of a check depends on the number of checks.
func TestMoreChecks(t *testing.T) {
	var b strings.Builder
	fmt.Fprintf(&b, "services of 4 checks at 1 s (a file, a constant, the load, the memory), %s long, nobody asks\n", idleTime)
	for _, n := range []int{10, 50, 250} {
		lb := startAgent(t, n, fileCheck(t))
		lb.get(t)
		u := lb.idle(t, idleTime)
		resident, _ := lb.resident(t)
		fmt.Fprintf(&b, "  %4d checks a second  %5.2f %% of a core, %5.1f µs a check, %.1f MiB resident\n",
			4*n, u.own*100, u.own*1e6/float64(4*n), float64(resident)/(1<<20))
		lb.stop()
	}
	publish(t, b.String())
}

// TestIdle measures the cost of checks without requests, by the type of the dependency.
func TestIdle(t *testing.T) {
	nginx := startNginx(t, []byte("OK\n"))
	var b strings.Builder
	fmt.Fprintf(&b, "%d services of 4 checks at 1 s, %s long, nobody asks; a constant, the load, the memory and\n", services, idleTime)
	for _, c := range []struct{ what, check string }{
		{"a file that matches", fileCheck(t)},
		{"a page of nginx (HTTP)", fmt.Sprintf(`{ type = "http", url = %q, content = "OK" }`, nginx.url)},
		{"a port that accepts (TCP)", fmt.Sprintf(`{ type = "tcp", address = %q }`, nginx.address)},
		{"a command (exit 0)", `{ type = "script", command = "exit 0" }`},
	} {
		lb := startAgent(t, services, c.check)
		lb.get(t)
		u := lb.idle(t, idleTime)
		fmt.Fprintf(&b, "  %-26s %5.2f %% of a core, and %5.2f %% in commands that it started\n", c.what, u.own*100, u.children*100)
		lb.stop()
	}
	publish(t, b.String())
}

// publish prints a table and appends it to the file in LB_BENCH_OUT.
func publish(t *testing.T, table string) {
	t.Helper()
	fmt.Println(table)
	path := os.Getenv("LB_BENCH_OUT")
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(table + "\n"); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// goal compares a measurement with its minimum (atLeast) or maximum.
type goal struct {
	what      string
	got, want float64
	atLeast   bool
}

func (g goal) String() string {
	met, sign := g.got <= g.want, "<="
	if g.atLeast {
		met, sign = g.got >= g.want, ">="
	}
	return fmt.Sprintf("goal: %-32s %8.2f  %s %5.2f  %s\n", g.what, g.got, sign, g.want, map[bool]string{true: "met", false: "MISSED"}[met])
}

// load is one measurement under load.
type load struct {
	requests  int
	perSecond float64
	processor time.Duration // processor time of the server
}

// rate is in requests per second.
func rate(l load) float64 { return l.perSecond }

// cost is the processor time per request in microseconds.
func cost(l load) float64 { return l.processor.Seconds() * 1e6 / float64(l.requests) }

func sorted(ls []load, of func(load) float64) []float64 {
	var xs []float64
	for _, l := range ls {
		xs = append(xs, of(l))
	}
	slices.Sort(xs)
	return xs
}

func middle(ls []load, of func(load) float64) float64 { return sorted(ls, of)[len(ls)/2] }

func spread(ls []load, of func(load) float64, digits int) string {
	xs := sorted(ls, of)
	return fmt.Sprintf("%.*f (%.*f to %.*f)", digits, xs[len(xs)/2], digits, xs[0], digits, xs[len(xs)-1])
}

// perCore compares two servers round by round: how many requests a answers in the processor time in which b
// answers one.
func perCore(a, b []load) []float64 {
	var xs []float64
	for i := range a {
		xs = append(xs, cost(b[i])/cost(a[i]))
	}
	slices.SortFunc(xs, cmp.Compare)
	return xs
}

func middleRatio(a, b []load) float64 { return perCore(a, b)[len(a)/2] }

func ratios(a, b []load) string {
	xs := perCore(a, b)
	return fmt.Sprintf("%.2f (%.2f to %.2f)", xs[len(xs)/2], xs[0], xs[len(xs)-1])
}
