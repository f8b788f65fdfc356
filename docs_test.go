package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/braintree/lb/netx/lab/labtest"
)

const runbook = "docs/runbook.md"

// submatches returns what the first group of a pattern matches in a block of the runbook.
func submatches(t *testing.T, block, pattern string) []string {
	t.Helper()
	var all []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(labtest.ReadmeBlock(t, runbook, block), -1) {
		all = append(all, m[1])
	}
	return all
}

// TestTheRunbooksFilesAreOfOnePiece holds the files that the runbook shows against lb's own checks and against each other. Pacemaker's and Corosync's tools
// judge theirs in ocf/pacemaker.
func TestTheRunbooksFilesAreOfOnePiece(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lb.toml")
	if err := os.WriteFile(path, []byte(labtest.ReadmeBlock(t, runbook, "lb")), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := load(path)
	if err != nil {
		t.Fatal(err)
	}
	if warnings := cfg.Warnings(); len(warnings) > 0 {
		t.Errorf("lb.toml: %v", warnings)
	}
	machines := []string{"load01", "load02", "load03"}
	if got := submatches(t, "corosync", `name: (load\d+)`); !slices.Equal(got, machines) {
		t.Errorf("Corosync's machines are %v", got)
	}
	for pattern, what := range map[string]string{
		`primitive fence-(\S+)`:                  "devices",
		`pcmk_host_list=(\S+)`:                   "what they switch off",
		`location \S+ fence-\S+ -inf: (\S+)`:     "where they must not run",
		`location fence-(\S+)-elsewhere `:        "places",
		`ip=10\.0\.9\.\d .*pcmk_host_list=(\S+)`: "boards",
	} {
		if got := submatches(t, "fence", pattern); !slices.Equal(got, machines) {
			t.Errorf("%s: %v", what, got)
		}
	}
	if len(cfg.Clusters) != 2 {
		t.Errorf("%d clusters", len(cfg.Clusters))
	}
	for _, c := range cfg.Clusters {
		for _, name := range c.Prefer {
			if !slices.Contains(machines, name) {
				t.Errorf("%s prefers %s", c.Name, name)
			}
		}
		if _, ok := cfg.Service(c.Name); !ok || c.Autostart {
			t.Errorf("%s: no service of that name, or autostart", c.Name)
		}
	}
}
