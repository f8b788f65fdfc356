package agentcheck

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/braintree/lb/agent/score"
)

// The tests here are named after faults of litmus-agent-check that lb must not have; the numbers are those of the list of recorded
// faults.

// There a reset connection kills a worker, and a silent client holds one for ever: with two of them nobody is answered.
func TestFault15ResetsAndSilentClientsHoldUpNobody(t *testing.T) {
	b := newBench(t, Port{Address: "shared"})
	for range 300 {
		conn := b.dial("shared")
		if err := conn.SetLinger(0); err != nil { // the close is a reset
			t.Fatal(err)
		}
		conn.Close()
	}
	for range 10 {
		if _, err := io.WriteString(b.dial("shared"), "web"); err != nil { // and no more
			t.Fatal(err)
		}
	}
	for range 10 {
		b.want("shared", "webapp\n", "ready\tup\t85%\r\n")
	}
}

// There a HUP reaches only the parent: the workers that answer keep the old configuration.
func TestFault15AChangeCountsForEveryAnswer(t *testing.T) {
	b := newBench(t, Port{Address: "first", Service: "webapp"})
	b.set(Port{Address: "first", Service: "webapp"}, Port{Address: "second", Service: "other"})
	for range 8 {
		b.want("second", "", "ready\tup\t7%\r\n")
		b.want("first", "", "ready\tup\t85%\r\n")
	}
}

// There a service with a forced health is always ready and up.
func TestFault16NothingAtZeroIsReady(t *testing.T) {
	for _, forced := range []score.Kind{"", score.Down, score.Up, score.Health} {
		for _, health := range []int{-5, 0} {
			for _, measured := range []int{0, 85} {
				if words := (State{Health: health, Measured: measured, Forced: forced}).Words(); strings.Contains(words, "ready") || strings.Contains(words, "up") || !strings.HasSuffix(words, "\t0%\r\n") {
					t.Errorf("forced %q to %d, measured %d: %q", forced, health, measured, words)
				}
			}
		}
	}
}

// There a failure is told as failed#NOT_FOUND and failed#BAD_INPUT. HAProxy does not know these words: the server keeps its weight.
func TestFault16FailuresAreInHAProxysWords(t *testing.T) {
	b := newBench(t, Port{Address: "shared"}, Port{Address: "gone", Service: "nope"})
	for _, send := range []string{"nope\n", "\n", "web/app\n", "../etc/passwd\n", "GET / HTTP/1.0\r\n\r\n", "\xff\xfe\n", "webapp\x00\n", strings.Repeat("a", 300) + "\n"} {
		if got := b.ask("shared", send); !strings.HasPrefix(got, "fail #") || !strings.HasSuffix(got, "\r\n") || strings.Count(got, "\n") != 1 {
			t.Errorf("%.20q is answered %q", send, got)
		}
	}
	b.want("gone", "", fmt.Sprintf("fail #this agent has no service %s\r\n", "nope"))
}
