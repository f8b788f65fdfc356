//go:build lab

package noipvs

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/braintree/lb/netx/lab/labtest"
)

// TestWithoutIPVSTheErrorSaysWhatToDo unloads ip_vs from the guest's kernel and prevents it from loading again.
func TestWithoutIPVSTheErrorSaysWhatToDo(t *testing.T) {
	lb := os.Getenv("LB_BIN")
	if lb == "" {
		t.Fatal("LB_BIN is not set: give it the path of the lb to test, as scripts/test does")
	}
	const modprobePath = "/proc/sys/kernel/modprobe"
	before, err := os.ReadFile(modprobePath)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(modprobePath, before, 0o644); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(modprobePath, []byte("/bin/false"), 0o644); err != nil {
		t.Fatal(err)
	}
	// The kernel cleans up namespaces asynchronously, and the modules are in use until then.
	labtest.Eventually(t, time.Minute, "ip_vs is unloaded", func() (bool, string) {
		const unload = `for m in $(sed -n 's/^\(ip_vs_[a-z]*\) .*/\1/p' /proc/modules); do rmmod $m; done
! grep -q '^ip_vs ' /proc/modules || rmmod ip_vs`
		out, err := exec.Command("sh", "-c", unload).CombinedOutput()
		return err == nil, string(out)
	})
	dir := t.TempDir()
	config := filepath.Join(dir, "lb.toml")
	text := `[balancer]
control = "` + dir + `/balancer.sock"
[clusters.webapp]
fwmark = 7
vips   = [ { address = "204.109.13.7", ports = [443] } ]
nodes  = [ { address = "10.0.0.1" } ]
`
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"balance", "-c", config}, {"balance", "--dry-run", "-c", config}, {"demo"}} {
		out, err := exec.CommandContext(t.Context(), lb, args...).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 69 {
			t.Errorf("lb %s: %v, want exit status 69:\n%s", args, err, out)
		}
		if !strings.Contains(string(out), "modprobe ip_vs") {
			t.Errorf("lb %s does not say what to do:\n%s", args, out)
		}
	}
}
