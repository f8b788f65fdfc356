//go:build soak

package soak

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/braintree/lb/agent/api"
)

const (
	pollInterval  = 100 * time.Millisecond
	usageInterval = time.Second

	// starved is the delay of the observer's own command beyond which the machine is too busy to judge the
	// agent. maxStarved is the maximum share of polls that may be skipped because of that.
	starved    = slack / 2
	maxStarved = 0.2
)

// observer polls the running agent, and records the state of its checks and what it uses.
type observer struct {
	t      *testing.T
	url    string
	expect map[string]bool // services, and whether they are up

	polls   int
	skipped int // polls ignored because the machine was starved

	mu         sync.Mutex    // protects the fields below
	controlAt  time.Time     // when the observer's own command last ended
	starvedAt  time.Time     // when it was last too late
	maxControl time.Duration // its maximum delay

	maxAge   map[string]time.Duration // maximum age of a result, by good service
	oldest   map[string]string        // the check with that result
	failures map[string]int
	slowest  time.Duration // maximum response time
	samples  []sample
}

// sample is the usage of the agent, its checks, the peers and the observer at one moment.
type sample struct {
	goroutines, descriptors, processes int
	heap, resident                     uint64
}

// observe polls for the duration.
func (o *observer) observe(d time.Duration) {
	o.maxAge, o.oldest, o.failures = map[string]time.Duration{}, map[string]string{}, map[string]int{}
	ctx, cancel := context.WithCancel(o.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { o.runControl(ctx) })
	defer wg.Wait()
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	poll, usage, end := time.NewTicker(pollInterval), time.NewTicker(usageInterval), time.NewTimer(d)
	defer poll.Stop()
	defer usage.Stop()
	for {
		select {
		case <-end.C:
			return
		case <-poll.C:
			o.poll(client)
		case <-usage.C:
			o.sampleUsage()
		}
	}
}

// runControl runs a command repeatedly, as the agent runs those of checks, and records its delays.
func (o *observer) runControl(ctx context.Context) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for last := time.Now(); ctx.Err() == nil; <-ticker.C {
		// A late tick counts like a slow command. A failure of the command is not the agent's fault.
		_ = exec.Command("/bin/sh", "-c", "exit 0").Run()
		now := time.Now()
		o.mu.Lock()
		o.controlAt = now
		o.maxControl = max(o.maxControl, now.Sub(last)-pollInterval)
		if now.Sub(last)-pollInterval > starved {
			o.starvedAt = now
		}
		o.mu.Unlock()
		last = now
	}
}

// lastStarved is when the observer's command was last too late, which is now if it is overdue.
func (o *observer) lastStarved() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	if now := time.Now(); !o.controlAt.IsZero() && now.Sub(o.controlAt)-pollInterval > starved {
		return now
	}
	return o.starvedAt
}

func (o *observer) poll(client *http.Client) {
	begun := time.Now()
	request, err := http.NewRequestWithContext(o.t.Context(), http.MethodGet, o.url+"/", nil)
	if err != nil {
		o.t.Fatal(err)
	}
	request.Header.Set("Accept", "application/json")
	r, err := client.Do(request)
	if err != nil {
		o.failures["no response: "+err.Error()]++
		return
	}
	defer r.Body.Close()
	data, err := io.ReadAll(r.Body)
	o.slowest = max(o.slowest, time.Since(begun))
	var report api.Report
	if err != nil || json.Unmarshal(data, &report) != nil {
		o.failures[fmt.Sprintf("response %s, %v, %d bytes", r.Status, err, len(data))]++
		return
	}
	o.polls++
	// The effects of a delay last as long as a result is valid.
	if begun.Sub(o.lastStarved()) < 3*goodInterval {
		o.skipped++
		return
	}
	seen := map[string]bool{}
	for _, svc := range report.Services {
		seen[svc.Name] = true
		o.record(svc)
	}
	for name := range o.expect {
		if !seen[name] {
			o.failures[name+" is missing"]++
		}
	}
}

func (o *observer) record(svc api.Service) {
	up, known := o.expect[svc.Name]
	if !known {
		return // the temporary service
	}
	if up != (svc.Health > 0) {
		why := ""
		for _, d := range svc.Depends {
			if !d.OK {
				why += "; " + d.Display + ": " + d.Detail
			}
		}
		o.failures[fmt.Sprintf("%s has health %d%s", svc.Name, svc.Health, why)]++
	}
	if !up {
		return
	}
	age := func(display string, r api.Result) {
		if r.Age == nil {
			o.failures[display+" has not run"]++
			return
		}
		if a := time.Duration(*r.Age * float64(time.Second)); a > o.maxAge[svc.Name] {
			o.maxAge[svc.Name], o.oldest[svc.Name] = a, display
		}
	}
	for _, d := range svc.Depends {
		age(d.Display, d.Result)
	}
	for _, m := range svc.Metrics {
		age(m.Display, m.Result)
		if !m.OK {
			o.failures[fmt.Sprintf("%s: %s: %s", svc.Name, m.Display, m.Detail)]++
		}
	}
}

func (o *observer) sampleUsage() {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	o.samples = append(o.samples, sample{
		goroutines: runtime.NumGoroutine(), descriptors: len(descriptors(o.t)), processes: len(processes(o.t)),
		heap: m.HeapAlloc, resident: resident(o.t),
	})
}

// maxima is the maximum of each value.
func maxima(samples []sample) (m sample) {
	for _, x := range samples {
		m.goroutines, m.descriptors = max(m.goroutines, x.goroutines), max(m.descriptors, x.descriptors)
		m.processes = max(m.processes, x.processes)
		m.heap, m.resident = max(m.heap, x.heap), max(m.resident, x.resident)
	}
	return m
}

func (o *observer) halves() (first, second sample) {
	half := len(o.samples) / 2
	return maxima(o.samples[:half]), maxima(o.samples[half:])
}

func (o *observer) summary() []string {
	lines := []string{
		fmt.Sprintf("%d polls, the slowest took %s", o.polls, o.slowest.Round(time.Millisecond)),
		fmt.Sprintf("%d of them skipped, because the observer's own command was more than %s late (at most %s)", o.skipped, starved,
			o.maxControl.Round(time.Millisecond)),
	}
	for _, name := range slices.Sorted(maps.Keys(o.maxAge)) {
		lines = append(lines, fmt.Sprintf("%s: oldest result %s (%s)", name, o.maxAge[name].Round(time.Millisecond), o.oldest[name]))
	}
	first, second := o.halves()
	for i, m := range []sample{first, second} {
		lines = append(lines, fmt.Sprintf("maximum in the %s half: %d goroutines, %d descriptors, %d processes, "+
			"%.1f MiB of heap, %.1f MiB resident (with peers and observer)",
			[]string{"first", "second"}[i], m.goroutines, m.descriptors, m.processes, float64(m.heap)/(1<<20), float64(m.resident)/(1<<20)))
	}
	return lines
}

// verify reports everything that should not have happened.
func (o *observer) verify() {
	o.t.Helper()
	if o.polls == 0 {
		o.t.Fatal("no poll succeeded")
	}
	if float64(o.skipped) > maxStarved*float64(o.polls) {
		o.t.Errorf("the machine was too busy to judge whether checks are on time: repeat the test when it is idle")
	}
	for _, what := range slices.Sorted(maps.Keys(o.failures)) {
		o.t.Errorf("%d of %d polls: %s", o.failures[what], o.polls, what)
	}
	for _, name := range slices.Sorted(maps.Keys(o.maxAge)) {
		if o.maxAge[name] > goodInterval+slack {
			o.t.Errorf("%s: a result of %s was %s old, at an interval of %s", name, o.oldest[name], o.maxAge[name], goodInterval)
		}
	}
	first, second := o.halves()
	grown := func(what string, a, b, allowance uint64) {
		if b > a+a/4+allowance {
			o.t.Errorf("the maximum of %s grew from %d to %d in the second half", what, a, b)
		}
	}
	grown("goroutines", uint64(first.goroutines), uint64(second.goroutines), 20)
	grown("descriptors", uint64(first.descriptors), uint64(second.descriptors), 20)
	grown("processes", uint64(first.processes), uint64(second.processes), 20)
	grown("resident memory", first.resident, second.resident, 8<<20)
}
