package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/braintree/lb/agent/server"
	"github.com/braintree/lb/config"
)

// counting is a service whose dependencies each append a line to a file at every run.
func counting(name, dir string, dependencies ...string) config.Service {
	s := config.Service{Name: name, Metrics: []config.Check{constant(100)}}
	for _, d := range dependencies {
		s.Depends = append(s.Depends, depends("script", map[string]any{"command": "echo run >> " + filepath.Join(dir, d)}))
	}
	return s
}

func runs(t *testing.T, dir, name string) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Count(string(data), "\n")
}

func TestAReloadKeepsTheResultsOfUnchangedChecks(t *testing.T) {
	dir := shortDir(t)
	b, _ := running(t, configIn(dir, counting("web", dir, "a", "b"), counting("old", dir, "c")))
	b.configure(configIn(dir, counting("new", dir, "d"), counting("web", dir, "b", "e")), nil)
	kept := b.services.Current().ByName["web"].Depends[1]
	b.reload <- struct{}{}
	eventually(t, "the reload is done", func() bool { return b.log.Count("msg=reloaded") == 1 })
	if b.log.Count("msg=reloaded", "services=2", "checks_added=3", "checks_removed=3") != 1 {
		t.Errorf("log:\n%s", b.log)
	}
	if got := b.services.Current().ByName["web"].Depends[0]; got != kept {
		t.Error("the unchanged check was replaced")
	}
	for name, want := range map[string]int{"a": 1, "b": 1, "c": 1, "d": 1, "e": 1} {
		if got := runs(t, dir, name); got != want {
			t.Errorf("check %s ran %d times, want %d", name, got, want)
		}
	}
	for target, want := range map[string]int{"/web/status": 200, "/new/status": 200, "/old/status": 404} {
		if r := b.do(server.TCP, "GET", target, ""); r.StatusCode != want {
			t.Errorf("GET %s: %d, want %d", target, r.StatusCode, want)
		}
	}
	// The new checks had results before they counted, so the service was never down.
	if n := b.log.Count("service is down"); n != 0 {
		t.Errorf("log:\n%s", b.log)
	}
}

func TestAnInvalidReloadChangesNothing(t *testing.T) {
	dir := shortDir(t)
	b, _ := running(t, configIn(dir, webapp("true")))
	before := b.services.Current()
	b.configure(nil, errLoad)
	b.reload <- struct{}{}
	eventually(t, "the reload is refused", func() bool { return b.log.Count("reload refused", "lb.toml:3: nonsense") == 1 })
	b.configure(configIn(dir, config.Service{Name: "web", Metrics: []config.Check{metric("nope", 1, nil)}}), nil)
	b.reload <- struct{}{}
	eventually(t, "the second reload is refused", func() bool { return b.log.Count("reload refused", "is not a metric type") == 1 })
	if b.services.Current() != before {
		t.Error("the services have changed")
	}
	if r := b.do(server.TCP, "GET", "/webapp/status", ""); r.StatusCode != 200 {
		t.Errorf("status %d", r.StatusCode)
	}
}

func TestAReloadNamesSettingsThatNeedARestart(t *testing.T) {
	dir := shortDir(t)
	b, _ := running(t, configIn(dir, webapp("true")))
	cfg := configIn(dir, webapp("true"))
	cfg.Agent.Listen, cfg.Agent.TrustLoopback = "127.0.0.1:9999", true
	b.configure(cfg, nil)
	b.reload <- struct{}{}
	eventually(t, "the reload is done", func() bool { return b.log.Count("msg=reloaded", "checks_added=0", "checks_removed=0") == 1 })
	if b.log.Count("after a restart", "key=agent.listen", "127.0.0.1:9999") != 1 || b.log.Count("after a restart") != 1 {
		t.Errorf("log:\n%s", b.log)
	}
	// Every reload warns until the setting is as at the start again.
	for i, reload := range []struct {
		listen   string
		warnings int // so far
	}{{"127.0.0.1:9999", 2}, {configIn(dir).Agent.Listen, 2}} {
		again := *cfg
		again.Agent.Listen = reload.listen
		b.configure(&again, nil)
		b.reload <- struct{}{}
		eventually(t, "the reload is done", func() bool { return b.log.Count("msg=reloaded") == i+2 })
		if n := b.log.Count("after a restart"); n != reload.warnings {
			t.Errorf("after another reload to %s there are %d warnings, want %d:\n%s", reload.listen, n, reload.warnings, b.log)
		}
	}
	r := b.do(server.TCP, "POST", "/webapp/down", "reason=x")
	body := bodyOf(t, r)
	if r.StatusCode != 403 || !strings.Contains(body, "from 127.0.0.1 and ::1 only") { // httptest sends from 192.0.2.1
		t.Errorf("trust_loopback is not in effect: %d %q", r.StatusCode, body)
	}
}

func TestAReloadThatLeavesNoServicesIsRefused(t *testing.T) {
	dir := shortDir(t)
	b, _ := running(t, configIn(dir, counting("web", dir, "a")))
	b.configure(configIn(dir), nil)
	b.reload <- struct{}{}
	eventually(t, "the reload is refused",
		func() bool { return b.log.Count("reload refused", "has no services, the current one has 1") == 1 })
	if r := b.do(server.TCP, "GET", "/web/status", ""); r.StatusCode != 200 {
		t.Errorf("GET /web/status: %d", r.StatusCode)
	}
}

var errLoad = errors.New("lb.toml:3: nonsense")
