package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/lab/labtest"
)

const (
	runbook = "docs/runbook.md"
	scale   = "docs/scale.md"
)

// submatches returns what the first group of a pattern matches in a block of the runbook.
func submatches(t *testing.T, block, pattern string) []string {
	t.Helper()
	var all []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(labtest.ReadmeBlock(t, runbook, block), -1) {
		all = append(all, m[1])
	}
	return all
}

// shown loads a configuration that a document shows, which must be without mistakes and warnings.
func shown(t *testing.T, document, block string) *config.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lb.toml")
	if err := os.WriteFile(path, []byte(labtest.ReadmeBlock(t, document, block)), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := load(path)
	if err != nil {
		t.Fatal(err)
	}
	if warnings := cfg.Warnings(); len(warnings) > 0 {
		t.Errorf("%s: %v", document, warnings)
	}
	return cfg
}

// TestScaleShowsWhatMakesTablesEqual compares the files that docs/scale.md shows with its text. Its figures come from netx/lab/e2e.
func TestScaleShowsWhatMakesTablesEqual(t *testing.T) {
	c := shown(t, scale, "mh").Clusters[0]
	if c.Scheduler != "mh" || !c.Fallback || !c.HashPort || c.MaxWeight != 1 || c.RampUpTime != 0 || !c.Autostart ||
		c.VIPs[0].Interface != "" {
		t.Errorf("%+v", c)
	}
	loop := labtest.ReadmeBlock(t, scale, "announce")
	check := exec.CommandContext(t.Context(), "sh", "-n")
	check.Stdin = strings.NewReader(loop)
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("the loop: %v, %s", err, out)
	}
	for _, word := range []string{"OCF_RESKEY_cluster=" + c.Name + "\n", "vip=" + c.VIPs[0].Address.String() + "/32\n"} {
		if !strings.Contains(loop, word) {
			t.Errorf("the loop lacks %q", word)
		}
	}
}

// TestRunbookFilesAreConsistent checks the files that the runbook shows with lb and compares them with each other. ocf/pacemaker checks
// those of Pacemaker and Corosync with their own tools.
func TestRunbookFilesAreConsistent(t *testing.T) {
	cfg := shown(t, runbook, "lb")
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
