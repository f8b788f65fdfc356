// Package score computes the health of a service from the latest results of its checks and the forces in
// effect, without I/O or a clock.
package score

import (
	"math"
	"time"
)

// Max is the maximum health. A service with health 0 gets no traffic.
const Max = 100

// staleIntervals is for how many intervals a result is valid. Three tolerates one slow run and one skipped on
// a busy machine, but not a check that hangs.
const staleIntervals = 3

// Reading is the latest result of one check.
type Reading struct {
	OK       bool          // the dependency is up, or the metric could be measured
	Value    float64       // contribution of a metric to the health, 0 to its weight
	Floor    int           // minimum contribution of a metric: 1 for load metrics, 0 for others
	At       time.Time     // when the run ended; zero: the check has not run yet
	Interval time.Duration // between the starts of two runs
}

// Age is the time since the run ended, 0 if the check has not run yet.
func (r Reading) Age(now time.Time) time.Duration {
	if r.At.IsZero() {
		return 0
	}
	return max(0, now.Sub(r.At))
}

// Stale reports whether the result is older than three intervals.
func (r Reading) Stale(now time.Time) bool {
	return !r.At.IsZero() && now.Sub(r.At) > staleIntervals*r.Interval
}

// StaleFrom is the first moment at which the result is stale, zero if the check has not run yet.
func (r Reading) StaleFrom() time.Time {
	if r.At.IsZero() {
		return time.Time{}
	}
	return r.At.Add(staleIntervals*r.Interval + 1)
}

// Passing reports whether the latest result is OK and not stale.
func (r Reading) Passing(now time.Time) bool {
	return r.OK && !r.At.IsZero() && !r.Stale(now)
}

// Points is the contribution of a metric to the health: its value rounded up, as in litmus_paper, 0 to 100. A
// metric that failed, is stale or has not run yet contributes its floor.
func (r Reading) Points(now time.Time) int {
	points := 0
	if r.Passing(now) {
		points = roundUp(r.Value)
	}
	return max(points, min(r.Floor, Max))
}

// roundUp returns the smallest integer that is not below v, limited to 0 to 100. It ignores floating-point
// errors, as in 0.07·100 = 7.000000000000001.
func roundUp(v float64) int {
	switch {
	case math.IsNaN(v) || v <= 0:
		return 0
	case v >= Max:
		return Max
	}
	if whole := math.Round(v); math.Abs(v-whole) < 1e-9 {
		return int(whole)
	}
	return int(math.Ceil(v))
}

// Measured is the health of a service without forces: 0 if any dependency is not passing, otherwise the sum
// of its metrics, at most 100. It is at least 1 if a metric can no longer be measured, because on a busy
// fleet a script that is killed at its timeout would otherwise take one node after the other out of rotation.
// Without metrics it is 100. Without any checks it is 0, as in litmus_paper.
func Measured(now time.Time, depends, metrics []Reading) int {
	for _, d := range depends {
		if !d.Passing(now) {
			return 0
		}
	}
	if len(metrics) == 0 {
		if len(depends) == 0 {
			return 0
		}
		return Max
	}
	sum, minimum := 0, 0
	for _, m := range metrics {
		sum += m.Points(now)
		if !m.At.IsZero() && !m.Passing(now) {
			minimum = 1
		}
	}
	return min(max(sum, minimum), Max)
}
