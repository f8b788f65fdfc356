//go:build lab

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/braintree/lb/netx/lab/labtest"
	"github.com/braintree/lb/netx/lab/talk"
)

// TestWhatIsPlannedIsWhatTheReloadDoes asks what a new configuration would change in the kernel while that forwards, and then reloads it.
func TestWhatIsPlannedIsWhatTheReloadDoes(t *testing.T) {
	s := stage(t, nil)
	settled(t, s, 100)
	if out := lb(t, s, s.Load, "ctl", "plan"); !strings.Contains(out, "nothing to change") {
		t.Errorf("without a new configuration:\n%s", out)
	}
	openStreams(t, s)
	before := inKernel(t, s)
	text := labtest.Run(t, s.Load, "cat", "/run/lb.toml")
	for old, changed := range map[string]string{
		`scheduler      = "wrr"`:          "scheduler      = \"wlc\"\nmax_weight     = 60",
		"  { address = \"10.0.0.3\" },\n": "",
		"ports = [443]":                   "ports = [443, 8443]",
	} {
		if !strings.Contains(text, old) {
			t.Fatalf("no %q in the config:\n%s", old, text)
		}
		text = strings.Replace(text, old, changed, 1)
	}
	if err := s.Load.WriteFile("/run/new.toml", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	plan := lb(t, s, s.Load, "ctl", "plan", "--config", "/run/new.toml")
	if after := inKernel(t, s); after != before {
		t.Fatalf("planning changed the kernel from\n%s\nto\n%s", before, after)
	}
	if want := "connections: webapp, mark 7, node 10.0.0.3: 1 active, 0 inactive; they continue for up to 5m0s\n"; !strings.HasSuffix(plan, want) {
		t.Errorf("no %q at the end of the plan:\n%s", want, plan)
	}
	planned := slices.DeleteFunc(strings.Split(strings.TrimSpace(plan), "\n"), func(line string) bool { return strings.HasPrefix(line, "connections: ") })

	told := events(t, s)
	newest := told[len(told)-1].Number
	if err := s.WriteConfig([]byte(text)); err != nil {
		t.Fatal(err)
	}
	lb(t, s, s.Load, "ctl", "reload")
	labtest.Eventually(t, patience, "the reload's changes are those of the plan", func() (bool, string) {
		var changes []string
		for _, e := range events(t, s, "--since", fmt.Sprint(newest)) {
			if e.Change != "" {
				changes = append(changes, e.Change)
			}
		}
		slices.Sort(changes)
		want := slices.Sorted(slices.Values(planned))
		return slices.Equal(changes, want), fmt.Sprintf("planned:\n%q\ndone:\n%q", want, changes)
	})
	saved := labtest.Run(t, s.Load, "ipvsadm", "-Sn")
	for _, want := range []string{"-A -f 7 -s wlc", "-r 10.0.0.1:0 -i -w 60", "-r 10.0.0.2:0 -i -w 60", "-r 10.0.0.3:0 -i -w 0"} {
		if !strings.Contains(saved, want) {
			t.Errorf("after the reload there is no %q:\n%s", want, saved)
		}
	}
	if out := lb(t, s, s.Load, "ctl", "plan"); !strings.Contains(out, "nothing to change") {
		t.Errorf("after the reload:\n%s", out)
	}
}

// inKernel is all that lb programs there.
func inKernel(t *testing.T, s *talk.Scenario) string {
	t.Helper()
	return labtest.Run(t, s.Load, "ipvsadm", "-Sn") + labtest.Run(t, s.Load, "nft", "list", "table", "inet", "lb")
}
