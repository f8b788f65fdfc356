package check

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// haproxyPage is the recorded answer of HAProxy 2.6 with the backends web, empty and dead.
func haproxyPage(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "haproxy-2.6-show-stat.csv"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// haproxy is a fake that answers "show stat" with a page, and any other command with HAProxy's error.
func haproxy(t *testing.T, page string) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, l, func(command string) string {
		if command != "show stat\n" {
			return "Unknown command.\n"
		}
		return page
	})
	return socket
}

func rowsOf(backend string, rows ...string) string {
	page := "# pxname,svname,status,weight,\n" + backend + ",FRONTEND,OPEN,,\n"
	for _, r := range rows {
		page += backend + "," + r + ",\n"
	}
	return page + "\n"
}

func TestHAProxyBackends(t *testing.T) {
	page := haproxyPage(t)
	for _, tc := range []struct {
		name, page string
		backends   []string
		ok         bool
		reason     string
	}{
		{"UP", page, []string{"web"}, true, "UP: web"},
		{"DOWN", page, []string{"dead"}, false, "dead is DOWN"},
		{"all must be UP", page, []string{"web", "dead", "empty"}, false, "dead is DOWN; empty has no server that takes traffic"},
		{"missing", page, []string{"wbe"}, false, "HAProxy has no backend wbe"},
		{"a frontend is not a backend", page, []string{"f"}, false, "HAProxy has no backend f"},
		{"its servers are drained", rowsOf("w", "a,DRAIN,0", "BACKEND,UP,0"), []string{"w"}, false, "no server that takes traffic"},
		{"no permission", "Permission denied\n\n", []string{"web"}, false, `HAProxy returned "Permission denied"`},
		{"no answer", "", []string{"web"}, false, "closed the connection without a response"},
		{"cut short", strings.TrimRight(page, "\n")[:len(page)-420], []string{"web"}, false, "in the middle of a line"},
		{"other columns", "# pxname,svname,state\nweb,BACKEND,UP\n", []string{"web"}, false,
			"the column svname, status or weight is missing"},
		{"an invalid weight", rowsOf("w", "BACKEND,UP,-1"), []string{"w"}, false, `the weight of "BACKEND" in "w" is "-1"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want(t, run(t, dependency("haproxy_backends", map[string]any{"socket": haproxy(t, tc.page), "backends": tc.backends}),
				Host{}), tc.ok, tc.reason)
		})
	}
}

func TestHAProxyBackendsHealth(t *testing.T) {
	page := haproxyPage(t)
	for _, tc := range []struct {
		name, page string
		backends   []string
		ok         bool
		value      float64
		reason     string
	}{
		{"the share that is UP, without servers in maintenance", page, []string{"web"}, true, 80 * 60.0 / 91, "weight 60 of 91 is UP"},
		{"over several backends", page, []string{"web", "dead"}, true, 80 * 60.0 / 121, "weight 60 of 121"},
		{"all down", page, []string{"dead"}, true, 0, "weight 0 of 30"},
		{"all up", rowsOf("w", "a,UP,100", "b,no check,1", "BACKEND,UP,101"), []string{"w"}, true, 80, "weight 101 of 101"},
		{"going down and coming up", rowsOf("w", "a,UP 1/3,10", "b,DOWN 1/2,30", "BACKEND,UP,10"), []string{"w"}, true, 20,
			"weight 10 of 40"},
		{"taken out on purpose", rowsOf("w", "a,UP,10", "b,DOWN,10", "c,MAINT (via x/y),99", "d,DRAIN,99", "e,NOLB,99",
			"f,DRAIN (agent),9", "BACKEND,UP,10"), []string{"w"}, true, 40, "weight 10 of 20"},
		{"no server is left", rowsOf("w", "a,MAINT,10", "BACKEND,DOWN,0"), []string{"w"}, true, 0, "no server with a weight is in use"},
		{"one backend is missing", page, []string{"web", "wbe"}, false, 0, "HAProxy has no backend wbe"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := run(t, metric("haproxy_backends_health", 80, map[string]any{"socket": haproxy(t, tc.page), "backends": tc.backends}),
				Host{})
			want(t, r, tc.ok, tc.reason)
			if r.Value != tc.value {
				t.Errorf("value %v, want %v", r.Value, tc.value)
			}
		})
	}
}

func TestHAProxyThatIsMissingOrHangs(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	c := dependency("haproxy_backends", map[string]any{"socket": socket, "backends": []string{"web"}})
	want(t, run(t, c, Host{}), false, "no such file")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c.Timeout = 50 * time.Millisecond
	want(t, run(t, c, Host{}), false, "timed out after 50ms")
}

func FuzzParseHAProxyStats(f *testing.F) {
	f.Add(rowsOf("web", "a,UP,100", `"b ""x""",DOWN,1`, "BACKEND,UP,100"))
	f.Add("# pxname,svname,status,weight\nweb,BACKEND,UP,007\n")
	f.Add("# pxname,svname,status,weight\nweb,,")
	f.Fuzz(func(t *testing.T, page string) {
		rows, err := parseHAProxyStats(strings.NewReader(page), []string{"web"})
		if err != nil && rows != nil {
			t.Error("rows together with an error")
		}
		for _, r := range rows {
			if r.backend != "web" || r.weight < 0 || r.server == "FRONTEND" || r.up() && r.takenOut() {
				t.Errorf("%q gives %+v", page, r)
			}
		}
		if up, all := sumWeights(rows); up > all || up < 0 {
			t.Errorf("%q: weight %d of %d", page, up, all)
		}
	})
}
