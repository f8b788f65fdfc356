//go:build lab

package agent

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/braintree/lb/agent/server"
)

// Prometheus's own tool checks a page with every metric.
func TestPromtoolAcceptsTheMetrics(t *testing.T) {
	failing := fleetService("failing")
	failing.Depends[0] = depends("script", map[string]any{"command": `exit 3 # "quoted"`})
	b, _ := running(t, configIn(shortDir(t), failing, webapp("true")))
	b.do(server.Socket, "POST", "/webapp/health?health=42", "")
	check := func(page string) (string, error) {
		tool := exec.Command("promtool", "check", "metrics")
		tool.Stdin = strings.NewReader(page)
		out, err := tool.CombinedOutput()
		return string(out), err
	}
	page := bodyOf(t, b.do(server.TCP, "GET", "/metrics", ""))
	if out, err := check(page); err != nil || out != "" {
		t.Errorf("promtool: %v\n%s", err, out)
	}
	if out, err := check(page + "lb_agent_nonsense_total{ 1\n"); err == nil {
		t.Errorf("promtool accepts a broken page: %s", out)
	}
}
