package check

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/braintree/lb/balancer/api"
)

func TestBalancerCluster(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		response, known := map[string]string{
			"/cluster/web":     "Running: true\nCombinedWeight: 57\n",
			"/cluster/crlf":    "Running: true\r\nCombinedWeight: 57\r\n",
			"/cluster/big":     "Running: true\nCombinedWeight: 200\n",
			"/cluster/stopped": "Running: false\nCombinedWeight: 0\n",
			"/cluster/standby": `{"name":"standby","running":false,"combined_weight":300,"nodes":[]}`,
			"/cluster/json":    `{"name":"json","mark":7,"running":true,"combined_weight":57,"nodes":[{"address":"10.0.0.1"}]}`,
			"/cluster/other":   `{"weight":57}`,
			"/cluster/broken":  `{"running":true,"combined_weight":"57"}`,
			"/cluster/page":    "<html>CombinedWeight: many</html>",
			"/cluster/huge":    "Running: true\nCombinedWeight: 99999999999\n",
			"/cluster/endless": strings.Repeat("x", maxStatus),
			"/cluster/503":     "",
		}[r.URL.Path]
		switch {
		case !known:
			http.Error(w, "Cluster not found", http.StatusNotFound)
		case response == "":
			w.WriteHeader(http.StatusServiceUnavailable)
		case !strings.Contains(r.Header.Get("Accept"), "application/json") || r.Method != http.MethodGet:
			w.WriteHeader(http.StatusNotAcceptable)
		default:
			io.WriteString(w, response)
		}
	}))
	defer s.Close()
	for _, tc := range []struct {
		cluster string
		full    int
		ok      bool
		value   float64
		reason  string
	}{
		{"web", 0, true, 57, "combined weight 57 of 80"},
		{"crlf", 0, true, 57, ""},
		{"json", 0, true, 57, "combined weight 57 of 80"},
		{"big", 0, true, 80, "combined weight 200 of 80"},
		{"big", 800, true, 20, "combined weight 200 of 800"},
		{"stopped", 0, true, 0, "cluster stopped is not running there"},
		{"standby", 0, true, 0, "cluster standby is not running there"},
		{"nope", 0, false, 0, "the balancer has no cluster nope"},
		{"503", 0, false, 0, "status 503"},
		{"other", 0, false, 0, "lacks running or combined_weight"},
		{"broken", 0, false, 0, "read the balancer's response: json"},
		{"page", 0, false, 0, "no line Running or CombinedWeight"},
		{"huge", 0, false, 0, "out of range"},
		{"endless", 0, false, 0, "larger than 16 MiB"},
	} {
		t.Run(tc.cluster, func(t *testing.T) {
			options := map[string]any{"address": strings.TrimPrefix(s.URL, "http://"), "cluster": tc.cluster}
			if tc.full > 0 {
				options["full"] = tc.full
			}
			r := run(t, metric("balancer_cluster", 80, options), Host{})
			want(t, r, tc.ok, tc.reason)
			if r.Value != tc.value {
				t.Errorf("value %v, want %v", r.Value, tc.value)
			}
		})
	}
}

func TestTheJSONOfLbIsUnderstood(t *testing.T) {
	for _, running := range []bool{true, false} {
		body, err := json.Marshal(api.ClusterStatus{Name: "web", Running: running, CombinedWeight: 57})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := parseClusterStatus(body); err != nil || got != (clusterStatus{running, 57}) {
			t.Errorf("%s gives %+v: %v", body, got, err)
		}
	}
}

func TestAHungBalancerTimesOut(t *testing.T) {
	address, closed := silent(t)
	defer closed()
	c := metric("balancer_cluster", 80, map[string]any{"address": address, "cluster": "web"})
	c.Timeout = 50 * time.Millisecond
	want(t, run(t, c, Host{}), false, "timed out after 50ms")
}

func FuzzParseClusterStatus(f *testing.F) {
	f.Add("Running: true\nCombinedWeight: 200\n")
	f.Add(`{"running":true,"combined_weight":57}`)
	f.Fuzz(func(t *testing.T, body string) {
		status, err := parseClusterStatus([]byte(body))
		if status.weight < 0 || err != nil && status != (clusterStatus{}) {
			t.Errorf("%q gives %+v, %v", body, status, err)
		}
	})
}
