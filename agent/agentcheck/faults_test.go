package agentcheck

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/braintree/lb/agent/score"
)

// The tests in this file are named after faults of litmus-agent-check that lb must not have. The numbers are
// from the list of recorded faults.

// In litmus-agent-check a reset kills a worker, and a silent client blocks one forever. Two of them block the service.
func TestFault15ResetsAndSilentClientsBlockNobody(t *testing.T) {
	b := newBench(t, Port{Address: "shared"})
	for range 300 {
		conn := b.dial("shared")
		if err := conn.SetLinger(0); err != nil { // close with a reset
			t.Fatal(err)
		}
		conn.Close()
	}
	for range 10 {
		if _, err := io.WriteString(b.dial("shared"), "web"); err != nil { // and nothing more
			t.Fatal(err)
		}
	}
	for range 10 {
		b.want("shared", "webapp\n", "ready\tup\t85%\r\n")
	}
}

// In litmus-agent-check only the parent gets a HUP: the workers keep the old configuration.
func TestFault15AChangeAppliesToEveryAnswer(t *testing.T) {
	b := newBench(t, Port{Address: "first", Service: "webapp"})
	b.set(Port{Address: "first", Service: "webapp"}, Port{Address: "second", Service: "other"})
	for range 8 {
		b.want("second", "", "ready\tup\t7%\r\n")
		b.want("first", "", "ready\tup\t85%\r\n")
	}
}

// litmus-agent-check always reports a service with a forced health as ready and up.
func TestFault16NothingAtZeroIsReady(t *testing.T) {
	for _, forced := range []score.Kind{"", score.Down, score.Up, score.Health} {
		for _, health := range []int{-5, 0} {
			for _, measured := range []int{0, 85} {
				if reply := (State{Health: health, Measured: measured, Forced: forced}).reply(); strings.Contains(reply, "ready") ||
					strings.Contains(reply, "up") || !strings.HasSuffix(reply, "\t0%\r\n") {
					t.Errorf("forced %q to %d, measured %d: %q", forced, health, measured, reply)
				}
			}
		}
	}
}

// litmus-agent-check reports failed#NOT_FOUND and failed#BAD_INPUT. HAProxy ignores these words: the server
// keeps its weight.
func TestFault16FailuresAreInHAProxysWords(t *testing.T) {
	b := newBench(t, Port{Address: "shared"}, Port{Address: "gone", Service: "nope"})
	for _, send := range []string{"nope\n", "\n", "web/app\n", "../etc/passwd\n", "GET / HTTP/1.0\r\n\r\n", "\xff\xfe\n",
		"webapp\x00\n", strings.Repeat("a", 300) + "\n"} {
		if got := b.query("shared", send); !strings.HasPrefix(got, "fail #") || !strings.HasSuffix(got, "\r\n") ||
			strings.Count(got, "\n") != 1 {
			t.Errorf("the answer to %.20q is %q", send, got)
		}
	}
	b.want("gone", "", fmt.Sprintf("fail #this agent has no service %s\r\n", "nope"))
}
