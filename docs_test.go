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

// submatches returns all matches of a pattern's first group in a block of the runbook.
func submatches(t *testing.T, block, pattern string) []string {
	t.Helper()
	var all []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(labtest.ReadmeBlock(t, runbook, block), -1) {
		all = append(all, m[1])
	}
	return all
}

// loadBlock loads the configuration in a block of a document, which must have no errors and no warnings.
func loadBlock(t *testing.T, document, block string) *config.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lb.toml")
	if err := os.WriteFile(path, []byte(labtest.ReadmeBlock(t, document, block)), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := loadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	if warnings := cfg.Warnings(); len(warnings) > 0 {
		t.Errorf("%s: %v", document, warnings)
	}
	return cfg
}

// TestScaleConfigurationMakesTablesEqual checks the files in docs/scale.md. Its figures are checked in netx/lab/e2e.
func TestScaleConfigurationMakesTablesEqual(t *testing.T) {
	c := loadBlock(t, scale, "mh").Clusters[0]
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

// TestTheRunbooksFilesAreConsistent validates lb's configuration in the runbook and compares the files there with each other. Pacemaker's
// and Corosync's tools validate theirs in ocf/pacemaker.
func TestTheRunbooksFilesAreConsistent(t *testing.T) {
	cfg := loadBlock(t, runbook, "lb")
	machines := []string{"load01", "load02", "load03"}
	if got := submatches(t, "corosync", `name: (load\d+)`); !slices.Equal(got, machines) {
		t.Errorf("Corosync's machines are %v", got)
	}
	for pattern, what := range map[string]string{
		`primitive fence-(\S+)`:                  "fence devices",
		`pcmk_host_list=(\S+)`:                   "machines that they fence",
		`location \S+ fence-\S+ -inf: (\S+)`:     "machines that they avoid",
		`location fence-(\S+)-elsewhere `:        "location constraints",
		`ip=10\.0\.9\.\d .*pcmk_host_list=(\S+)`: "management boards",
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
