//go:build lab

package e2e

import (
	"regexp"
	"strings"
	"testing"

	"github.com/braintree/lb/netx/lab/labtest"
)

// readme returns a fenced block of README.md.
func readmeBlock(t *testing.T, name string) string {
	t.Helper()
	return labtest.ReadmeBlock(t, "../../../README.md", name)
}

// figures matches what may differ between README.md and a run: numbers, times, and the bars and padding that depend on them.
var figures = regexp.MustCompile(`[0-9]+(\.[0-9]+)?(ms|s)?|█+|-| +`)

// shape masks the figures in a line and folds white space.
func shape(line string) string {
	return strings.Join(strings.Fields(figures.ReplaceAllString(line, " # ")), " ")
}

// shows checks that the output contains each line of a README.md block, figures aside.
func compareWithReadme(t *testing.T, block, output string) {
	t.Helper()
	got := map[string]bool{}
	for line := range strings.Lines(output) {
		got[shape(line)] = true
	}
	for line := range strings.Lines(block) {
		if !got[shape(line)] {
			t.Errorf("README.md shows a line that the run did not print:\n%s", line)
		}
	}
}

func TestClusterStatusMatchesTheReadme(t *testing.T) {
	s := newSite(t, nil)
	waitForWeight(t, s, 100)
	runLB(t, s, s.Apps[1].Host, "ctl", "force", "down", "webapp", "-r", "apt upgrades")
	var out string
	labtest.Eventually(t, timeout, "the status shows the reason", func() (bool, string) {
		out = runLB(t, s, s.BalancerHost, "ctl", "cluster", "status", "webapp")
		return strings.Contains(out, "apt upgrades"), out
	})
	t.Log(out)
	_, block, _ := strings.Cut(readmeBlock(t, "cluster"), "\n") // without the command
	compareWithReadme(t, block, out)
}
