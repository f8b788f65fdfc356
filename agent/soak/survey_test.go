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
	askInterval  = 100 * time.Millisecond
	lookInterval = time.Second

	// starved is how long the survey's own command may take before the machine is to blame for what is late around that time, and
	// mostStarved the share of the run that may be left out for that.
	starved     = slack / 2
	mostStarved = 0.2
)

// survey asks the agent how its checks do while the agent runs, and counts what it holds.
type survey struct {
	t      *testing.T
	url    string
	expect map[string]bool // services, and whether they are up

	asked int
	held  int // of these: not judged, because the machine was starved

	mu        sync.Mutex    // protects what follows
	compared  time.Time     // when the survey's own command ended last
	starvedAt time.Time     // when the machine let it wait too long last
	control   time.Duration // how late the survey's own command was at most

	oldest   map[string]time.Duration // of good services: how old a check's result was at most
	whose    map[string]string        // the check that it was
	mistakes map[string]int
	slowest  time.Duration // answer
	samples  []sample
}

// sample is what the agent, its checks and its peers held at one moment.
type sample struct {
	goroutines, descriptors, processes int
	heap, resident                     uint64
}

// watch goes on for as long as asked.
func (s *survey) watch(long time.Duration) {
	s.oldest, s.whose, s.mistakes = map[string]time.Duration{}, map[string]string{}, map[string]int{}
	ctx, cancel := context.WithCancel(s.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { s.compare(ctx) })
	defer wg.Wait()
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	ask, count, end := time.NewTicker(askInterval), time.NewTicker(lookInterval), time.NewTimer(long)
	defer ask.Stop()
	defer count.Stop()
	for {
		select {
		case <-end.C:
			return
		case <-ask.C:
			s.ask(client)
		case <-count.C:
			s.count()
		}
	}
}

// compare runs a command of its own over and over, as the agent runs those of checks, and notes when the machine lets it wait.
func (s *survey) compare(ctx context.Context) {
	ticker := time.NewTicker(askInterval)
	defer ticker.Stop()
	for last := time.Now(); ctx.Err() == nil; <-ticker.C {
		// A tick that came late counts as much as a command that took long. A command that fails is none of the agent's doing.
		_ = exec.Command("/bin/sh", "-c", "exit 0").Run()
		now := time.Now()
		s.mu.Lock()
		s.compared = now
		s.control = max(s.control, now.Sub(last)-askInterval)
		if now.Sub(last)-askInterval > starved {
			s.starvedAt = now
		}
		s.mu.Unlock()
		last = now
	}
}

// lastStarved is when the machine let the survey's command wait last; now, when it has been going on for too long.
func (s *survey) lastStarved() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); !s.compared.IsZero() && now.Sub(s.compared)-askInterval > starved {
		return now
	}
	return s.starvedAt
}

func (s *survey) ask(client *http.Client) {
	begun := time.Now()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.url+"/", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Accept", "application/json")
	r, err := client.Do(request)
	if err != nil {
		s.mistakes["no answer: "+err.Error()]++
		return
	}
	defer r.Body.Close()
	data, err := io.ReadAll(r.Body)
	s.slowest = max(s.slowest, time.Since(begun))
	var report api.Report
	if err != nil || json.Unmarshal(data, &report) != nil {
		s.mistakes[fmt.Sprintf("answer %s, %v, %d bytes", r.Status, err, len(data))]++
		return
	}
	s.asked++
	// What was late then shows for as long as a result is believed.
	if begun.Sub(s.lastStarved()) < 3*goodInterval {
		s.held++
		return
	}
	seen := map[string]bool{}
	for _, svc := range report.Services {
		seen[svc.Name] = true
		s.take(svc)
	}
	for name := range s.expect {
		if !seen[name] {
			s.mistakes[name+" is not there"]++
		}
	}
}

func (s *survey) take(svc api.Service) {
	up, known := s.expect[svc.Name]
	if !known {
		return // comes and goes
	}
	if up != (svc.Health > 0) {
		why := ""
		for _, d := range svc.Depends {
			if !d.OK {
				why += "; " + d.Display + ": " + d.Detail
			}
		}
		s.mistakes[fmt.Sprintf("%s has health %d%s", svc.Name, svc.Health, why)]++
	}
	if !up {
		return
	}
	age := func(display string, r api.Result) {
		if r.Age == nil {
			s.mistakes[display+" has not run"]++
			return
		}
		if a := time.Duration(*r.Age * float64(time.Second)); a > s.oldest[svc.Name] {
			s.oldest[svc.Name], s.whose[svc.Name] = a, display
		}
	}
	for _, d := range svc.Depends {
		age(d.Display, d.Result)
	}
	for _, m := range svc.Metrics {
		age(m.Display, m.Result)
		if !m.OK {
			s.mistakes[fmt.Sprintf("%s: %s: %s", svc.Name, m.Display, m.Detail)]++
		}
	}
}

func (s *survey) count() {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	s.samples = append(s.samples, sample{
		goroutines: runtime.NumGoroutine(), descriptors: len(descriptors(s.t)), processes: len(processes(s.t)),
		heap: m.HeapAlloc, resident: resident(s.t),
	})
}

// most is the greatest of each figure.
func most(samples []sample) (m sample) {
	for _, x := range samples {
		m.goroutines, m.descriptors, m.processes = max(m.goroutines, x.goroutines), max(m.descriptors, x.descriptors), max(m.processes, x.processes)
		m.heap, m.resident = max(m.heap, x.heap), max(m.resident, x.resident)
	}
	return m
}

func (s *survey) halves() (first, second sample) {
	half := len(s.samples) / 2
	return most(s.samples[:half]), most(s.samples[half:])
}

func (s *survey) summary() []string {
	lines := []string{
		fmt.Sprintf("asked %d times, the slowest answer took %s", s.asked, s.slowest.Round(time.Millisecond)),
		fmt.Sprintf("%d of them not judged, because the machine kept a command of the survey's own waiting for more than %s (%s at most)", s.held, starved, s.control.Round(time.Millisecond)),
	}
	for _, name := range slices.Sorted(maps.Keys(s.oldest)) {
		lines = append(lines, fmt.Sprintf("%s: no result was ever older than %s (%s)", name, s.oldest[name].Round(time.Millisecond), s.whose[name]))
	}
	first, second := s.halves()
	for i, m := range []sample{first, second} {
		lines = append(lines, fmt.Sprintf("most in the %s half: %d goroutines, %d descriptors, %d processes, %.1f MiB of heap, %.1f MiB resident (peers and survey included)",
			[]string{"first", "second"}[i], m.goroutines, m.descriptors, m.processes, float64(m.heap)/(1<<20), float64(m.resident)/(1<<20)))
	}
	return lines
}

// judge tells what should not have happened.
func (s *survey) judge() {
	s.t.Helper()
	if s.asked == 0 {
		s.t.Fatal("the agent was never asked")
	}
	if float64(s.held) > mostStarved*float64(s.asked) {
		s.t.Errorf("the machine was too busy with other things to tell whether checks are on time: repeat this when it is quieter")
	}
	for _, what := range slices.Sorted(maps.Keys(s.mistakes)) {
		s.t.Errorf("%d times of %d: %s", s.mistakes[what], s.asked, what)
	}
	for _, name := range slices.Sorted(maps.Keys(s.oldest)) {
		if s.oldest[name] > goodInterval+slack {
			s.t.Errorf("%s: a result of %s was %s old, at an interval of %s", name, s.whose[name], s.oldest[name], goodInterval)
		}
	}
	first, second := s.halves()
	grown := func(what string, a, b, room uint64) {
		if b > a+a/4+room {
			s.t.Errorf("%s grew from %d to %d at most between the halves of the run", what, a, b)
		}
	}
	grown("the number of goroutines", uint64(first.goroutines), uint64(second.goroutines), 20)
	grown("the number of descriptors", uint64(first.descriptors), uint64(second.descriptors), 20)
	grown("the number of processes", uint64(first.processes), uint64(second.processes), 20)
	grown("resident memory", first.resident, second.resident, 8<<20)
}
