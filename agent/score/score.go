// Package score decides the health of a service from the latest results of its checks and the forces in effect; it does no I/O and reads no clock.
package score

import (
	"math"
	"time"
)

// Max is the highest health: a service has 0 (take no traffic) to 100.
const Max = 100

// staleIntervals is how many of its own intervals a result counts for. Three, so that one slow run and one that
// was lost to a busy machine are forgiven, and a check that hangs is not.
const staleIntervals = 3

// Reading is the latest result of one check.
type Reading struct {
	OK       bool          // a dependency: it is well; a metric: it could be measured
	Value    float64       // a metric: what it adds to the health, 0 to its weight
	Floor    int           // a metric: the least that it counts, 1 for load metrics, 0 for the others
	At       time.Time     // when the run ended; zero: it has not run yet
	Interval time.Duration // from one run's start to the next
}

// Age is the time since the result; 0 when there is none yet.
func (r Reading) Age(now time.Time) time.Duration {
	if r.At.IsZero() {
		return 0
	}
	return max(0, now.Sub(r.At))
}

// Stale tells that the result is older than three intervals.
func (r Reading) Stale(now time.Time) bool {
	return !r.At.IsZero() && now.Sub(r.At) > staleIntervals*r.Interval
}

// StaleFrom is the first moment at which the result is stale; zero when there is none yet.
func (r Reading) StaleFrom() time.Time {
	if r.At.IsZero() {
		return time.Time{}
	}
	return r.At.Add(staleIntervals*r.Interval + 1)
}

// Well tells whether the check has a result, and a good one that is fresh enough to be believed.
func (r Reading) Well(now time.Time) bool {
	return r.OK && !r.At.IsZero() && !r.Stale(now)
}

// Points is what a metric adds to the health: its value rounded up, as litmus_paper does it, 0 to 100. A metric
// that failed, is stale or has not run yet counts its floor.
func (r Reading) Points(now time.Time) int {
	points := 0
	if r.Well(now) {
		points = roundUp(r.Value)
	}
	return max(points, min(r.Floor, Max))
}

// roundUp gives the smallest whole number that is not below v, kept within 0 to 100. What floating point adds to a
// product such as 0.07·100 = 7.000000000000001 is not a reason to round up.
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

// Measured is the health of a service: 0 when any dependency is not well, else the sum of its metrics, at most
// 100. What cannot be measured any more is no reason to take a node out, for on a busy fleet a script that is killed at its
// timeout would take out one node after the other: then it is at least 1. A service with dependencies and no metric has
// 100 when they are well. With neither, nothing says that it is well: 0, as in litmus_paper.
func Measured(now time.Time, depends, metrics []Reading) int {
	for _, d := range depends {
		if !d.Well(now) {
			return 0
		}
	}
	if len(metrics) == 0 {
		if len(depends) == 0 {
			return 0
		}
		return Max
	}
	sum, least := 0, 0
	for _, m := range metrics {
		sum += m.Points(now)
		if !m.At.IsZero() && !m.Well(now) {
			least = 1
		}
	}
	return min(max(sum, least), Max)
}
