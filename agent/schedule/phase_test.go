package schedule

import (
	"fmt"
	"testing"
	"time"
)

func TestPhasesSpreadAFleet(t *testing.T) {
	const interval = 3 * time.Second
	buckets := make([]int, 6)
	for i := range 600 {
		p := phase(interval, fmt.Sprintf("app%02d", i), "web", "dependency", "Dependency::HTTP(http://db/)", "0")
		buckets[p*6/(interval+1)]++
	}
	for i, n := range buckets {
		if n < 50 || n > 150 {
			t.Errorf("sixth %d of the interval has %d of 600 machines: %v", i, n, buckets)
		}
	}
}

func TestPhasesAreMultiplesOfAStepWhereTheIntervalHasRoom(t *testing.T) {
	for _, tc := range []struct{ interval, step time.Duration }{
		{time.Second, phaseStep}, {10 * time.Second, phaseStep}, {900 * time.Millisecond, 1},
	} {
		seen := map[time.Duration]bool{}
		for i := range 1000 {
			p := phase(tc.interval, fmt.Sprintf("service%d", i))
			if p <= 0 || p > tc.interval || p%tc.step != 0 {
				t.Fatalf("phase %s of interval %s", p, tc.interval)
			}
			seen[p] = true
		}
		if most := int(tc.interval / tc.step); len(seen) < min(most, 900)*9/10 {
			t.Errorf("interval %s: only %d phases are used", tc.interval, len(seen))
		}
	}
	if p := phase(1010*time.Millisecond, "x"); p > 1010*time.Millisecond {
		t.Errorf("phase %s exceeds its interval", p)
	}
}
