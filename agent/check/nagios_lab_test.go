//go:build lab

package check

import (
	"net"
	"testing"
)

// plugins is where Debian's package monitoring-plugins-basic installs them.
const plugins = "/usr/lib/nagios/plugins/"

func TestDebiansPlugins(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		argv   []string
		ok     bool
		value  float64
		reason string
	}{
		{"a port that is open", []string{plugins + "check_tcp", "-H", "127.0.0.1", "-p", port}, true, 100, "OK: TCP OK"},
		{"a port that is closed", []string{plugins + "check_tcp", "-H", "127.0.0.1", "-p", "1"}, false, 0, "CRITICAL: "},
		{"a status of our choice", []string{plugins + "check_dummy", "1", "maintenance"}, true, 50, "WARNING: WARNING: maintenance"},
		{"unknown", []string{plugins + "check_dummy", "3", "nobody knows"}, false, 0, "UNKNOWN: UNKNOWN: nobody knows"},
		{"the wrong options", []string{plugins + "check_tcp"}, false, 0, "UNKNOWN: "},
		{"swapped by negate", []string{plugins + "negate", plugins + "check_dummy", "2", "as wanted"}, true, 100, "OK: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			options := map[string]any{"argv": tc.argv}
			want(t, run(t, dependency("nagios", options), Host{}), tc.ok, tc.reason)
			if r := run(t, metric("nagios", 100, options), Host{}); r.Value != tc.value {
				t.Errorf("as a metric it contributes %v, want %v: %+v", r.Value, tc.value, r)
			}
		})
	}
}
