package checkrun

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/braintree/lb/agent/check"
	"github.com/braintree/lb/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func script(command string, timeout time.Duration) config.Check {
	return config.Check{
		Role: config.Dependency, Type: "script", Interval: time.Hour, Timeout: timeout,
		Options: config.NewOptions(map[string]any{"command": command}),
	}
}

func constant(weight int) config.Check {
	return config.Check{Role: config.Metric, Type: "constant", Interval: time.Hour, Timeout: time.Minute, Weight: weight,
		Options: config.NewOptions(nil)}
}

func TestTheHealthFollowsFromTheResults(t *testing.T) {
	for _, tc := range []struct {
		name    string
		service config.Service
		want    int
	}{
		{"passing", config.Service{Depends: []config.Check{script("true", time.Minute)},
			Metrics: []config.Check{constant(60), constant(25)}}, 85},
		{"a dependency fails", config.Service{Depends: []config.Check{script("true", time.Minute), script("exit 3", time.Minute)},
			Metrics: []config.Check{constant(60)}}, 0},
		{"no metric", config.Service{Depends: []config.Check{script("true", time.Minute)}}, 100},
		{"a weight of 0", config.Service{Metrics: []config.Check{constant(0)}}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := Run(t.Context(), tc.service, check.Host{}, nil)
			if err != nil || r.Measured != tc.want || r.Up() != (tc.want > 0) || len(r.Depends) != len(tc.service.Depends) ||
				len(r.Metrics) != len(tc.service.Metrics) {
				t.Errorf("%+v, %v; want %d", r, err, tc.want)
			}
		})
	}
}

func TestResultsComeInOrderWithDurationAndDetail(t *testing.T) {
	service := config.Service{
		Name: "web",
		Depends: []config.Check{script("sleep 0.2", time.Minute), script("sleep 1000", 100*time.Millisecond),
			script("echo broken; exit 3", time.Minute)},
		Metrics: []config.Check{constant(60)},
	}
	var shown []string
	report, err := Run(t.Context(), service, check.Host{}, func(role config.Role, r Result) {
		shown = append(shown, string(role)+" "+r.Display)
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"dependency Dependency::Script(sleep 0.2)", "dependency Dependency::Script(sleep 1000)",
		"dependency Dependency::Script(echo broken; exit 3)", "metric Metric::ConstantMetric(60)",
	}
	if !slices.Equal(shown, want) {
		t.Errorf("shown: %q, want %q", shown, want)
	}
	slow, hung, broken := report.Depends[0], report.Depends[1], report.Depends[2]
	if !slow.OK || slow.Seconds < 0.2 || slow.Timeout != 60 {
		t.Errorf("slow: %+v", slow)
	}
	if hung.OK || hung.Seconds < 0.1 || hung.Seconds > 30 || hung.Timeout != 0.1 || hung.Detail == "" {
		t.Errorf("hung: %+v", hung)
	}
	if broken.OK || !strings.Contains(broken.Detail, "broken") {
		t.Errorf("broken: %+v", broken)
	}
	if m := report.Metrics[0]; !m.OK || *m.Value != 60 || *m.Weight != 60 {
		t.Errorf("metric: %+v", m)
	}
	text, err := json.Marshal(report)
	if err != nil || !strings.Contains(string(text), `"name":"web","measured":0,"depends":[{"type":"script",`) ||
		!strings.Contains(string(text), `"value":60,"weight":60`) {
		t.Errorf("%s, %v", text, err)
	}
}

func TestCancellationAndUnknownTypesAreErrors(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, config.Service{Depends: []config.Check{script("sleep 1000", time.Hour)}}, check.Host{},
		nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v", err)
	}
	bad := script("true", time.Minute)
	bad.Type = "nope"
	if _, err := Run(t.Context(), config.Service{Depends: []config.Check{bad}}, check.Host{}, nil); err == nil ||
		!strings.Contains(err.Error(), "is not a dependency type") {
		t.Errorf("Run = %v", err)
	}
}
