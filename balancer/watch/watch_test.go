package watch

import (
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/braintree/lb/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPhasesSpreadPolls(t *testing.T) {
	const nodes, slices = 1000, 10
	var count [slices]int
	for n := range nodes {
		address := netip.AddrFrom4([4]byte{10, 0, byte(n / 250), byte(n % 250)})
		w := New(config.Cluster{Name: "web", CheckInterval: 2 * time.Second}, config.Node{Address: address}, time.Now(), nil)
		phase := w.phase()
		if phase < 0 || phase >= w.interval || phase != w.phase() {
			t.Fatalf("phase %s", phase)
		}
		count[int(phase*slices/w.interval)]++
	}
	for i, n := range count {
		if n < nodes/slices/2 || n > nodes/slices*2 {
			t.Errorf("tenth %d of the interval has %d of %d nodes: %v", i, n, nodes, count)
		}
	}
}

// Nodes of one phase are polled at the same times, whenever their watchers start.
func TestWatchersOfOnePhasePollTogether(t *testing.T) {
	start := time.Now()
	times := map[time.Duration]bool{}
	for n := range 200 {
		w := New(config.Cluster{Name: "web", CheckInterval: time.Second}, config.Node{Address: netip.AddrFrom4([4]byte{10, 0, 0, byte(n)})},
			start, nil)
		for _, after := range []time.Duration{0, time.Millisecond, 999 * time.Millisecond, 1234567 * time.Microsecond} {
			wait := w.untilPhase(start.Add(after))
			if wait < 0 || wait >= time.Second {
				t.Fatalf("%s after the start it waits %s", after, wait)
			}
			times[(after+wait)%time.Second] = true
		}
	}
	if len(times) != phaseSteps {
		t.Errorf("%d times in each interval, want %d: %v", len(times), phaseSteps, times)
	}
}
