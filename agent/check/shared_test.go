package check

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/config"
)

func TestAReadingIsSharedForASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l latest[int]
		reads := 0
		failure := errors.New("no such file")
		read := func() (int, error) {
			reads++
			if reads == 2 {
				return 0, failure
			}
			return reads, nil
		}
		want := func(after time.Duration, value int, fault error) {
			t.Helper()
			time.Sleep(after)
			if got, err := l.get(read); got != value || !errors.Is(err, fault) {
				t.Errorf("got %d, %v; want %d, %v", got, err, value, fault)
			}
		}
		want(0, 1, nil)
		want(sharedFor-1, 1, nil)
		want(1, 0, failure)
		want(sharedFor-1, 0, failure)
		want(1, 3, nil)
	})
}

func TestASharedHostGivesTheSameResults(t *testing.T) {
	h := machine{cores: 4, load: "1.00 0.10 0.20 1/100 4242\n", cgroup: "0::/\n"}.build(t).Shared()
	for _, typ := range []string{"cpu_load", "available_memory"} {
		c, err := New(config.Check{Role: config.Metric, Type: typ, Weight: 40, Options: config.NewOptions(nil)}, h)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]float64{"cpu_load": 30, "available_memory": 20}[typ]
		for range 2 {
			if r := c.Run(t.Context()); !r.OK || r.Value != want {
				t.Errorf("%s: %+v, want %g", typ, r, want)
			}
		}
	}
}
