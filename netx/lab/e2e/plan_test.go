//go:build lab

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/braintree/lb/netx/lab/labtest"
	"github.com/braintree/lb/netx/lab/testbed"
)

// TestReloadMakesThePlannedChanges plans a new configuration while the kernel forwards, then reloads it and compares the changes.
func TestReloadMakesThePlannedChanges(t *testing.T) {
	s := newSite(t, nil)
	waitForWeight(t, s, 100)
	if out := runLB(t, s, s.BalancerHost, "ctl", "plan"); !strings.Contains(out, "nothing to change") {
		t.Errorf("plan without a new configuration:\n%s", out)
	}
	openStreams(t, s)
	before := programmedState(t, s)
	text := labtest.Run(t, s.BalancerHost, "cat", "/run/lb.toml")
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
	if err := s.BalancerHost.WriteFile("/run/new.toml", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	plan := runLB(t, s, s.BalancerHost, "ctl", "plan", "--config", "/run/new.toml")
	if after := programmedState(t, s); after != before {
		t.Fatalf("planning changed the kernel from\n%s\nto\n%s", before, after)
	}
	want := "connections: webapp, mark 7, node 10.0.0.3: 1 active, 0 inactive; they continue for up to 5m0s\n"
	if !strings.HasSuffix(plan, want) {
		t.Errorf("the plan does not end with %q:\n%s", want, plan)
	}
	planned := slices.DeleteFunc(strings.Split(strings.TrimSpace(plan), "\n"), func(line string) bool {
		return strings.HasPrefix(line, "connections: ")
	})

	past := events(t, s)
	newest := past[len(past)-1].Number
	if err := s.WriteConfig([]byte(text)); err != nil {
		t.Fatal(err)
	}
	runLB(t, s, s.BalancerHost, "ctl", "reload")
	labtest.Eventually(t, timeout, "the reload makes the planned changes", func() (bool, string) {
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
	saved := labtest.Run(t, s.BalancerHost, "ipvsadm", "-Sn")
	for _, want := range []string{"-A -f 7 -s wlc", "-r 10.0.0.1:0 -i -w 60", "-r 10.0.0.2:0 -i -w 60", "-r 10.0.0.3:0 -i -w 0"} {
		if !strings.Contains(saved, want) {
			t.Errorf("ipvsadm shows no %q after the reload:\n%s", want, saved)
		}
	}
	if out := runLB(t, s, s.BalancerHost, "ctl", "plan"); !strings.Contains(out, "nothing to change") {
		t.Errorf("plan after the reload:\n%s", out)
	}
}

// programmedState returns everything that lb programs into the kernel.
func programmedState(t *testing.T, s *testbed.Site) string {
	t.Helper()
	return labtest.Run(t, s.BalancerHost, "ipvsadm", "-Sn") + labtest.Run(t, s.BalancerHost, "nft", "list", "table", "inet", "lb")
}
