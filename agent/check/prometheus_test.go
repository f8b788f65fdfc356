package check

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	prom "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// exporter serves a page.
func exporter(t *testing.T, page string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, page) }))
	t.Cleanup(s.Close)
	return s.URL + "/metrics"
}

func TestPrometheus(t *testing.T) {
	postfix, err := os.ReadFile(filepath.Join("testdata", "postfix-exporter.txt"))
	if err != nil {
		t.Fatal(err)
	}
	page := exporter(t, string(postfix))
	count := "postfix_showq_message_age_seconds_count"
	for _, tc := range []struct {
		name, url, sample string
		labels            map[string]string
		best, worst       float64
		ok                bool
		value             float64
		reason            string
	}{
		{"the talk's mail queue", page, count, map[string]string{"queue": "deferred"}, 0, 1000, true, 60,
			count + `{queue="deferred"} is 250 (best 0, worst 1000)`},
		{"better than best", page, count, map[string]string{"queue": "active"}, 10, 1000, true, 80, "is 4"},
		{"worse than worst", page, count, map[string]string{"queue": "deferred"}, 0, 100, true, 0, "is 250"},
		{"more is better", page, "go_goroutines", nil, 10, 8, true, 40, "go_goroutines is 9"},
		{"part of a histogram", page, "postfix_showq_message_age_seconds_bucket", map[string]string{"queue": "active", "le": "10"}, 0,
			4, true, 20, "is 3"},
		{"an exponent", page, "postfix_showq_message_age_seconds_sum", map[string]string{"queue": "deferred"}, 0, 1.80735e6, true, 0,
			"is 1.80735e+06"},
		{"several with that name", page, count, nil, 0, 1, false, 0, "has 2 samples of " + count + ": add labels"},
		{"no such labels", page, count, map[string]string{"queue": "hold"}, 0, 1, false, 0, "has no " + count + " with these labels"},
		{"no such sample", page, "postfix_queue", nil, 0, 1, false, 0, "has no postfix_queue"},
		{"a family is not a sample", page, "postfix_showq_message_age_seconds", nil, 0, 1, false, 0, "has no postfix_showq"},
		{"NaN", exporter(t, "x NaN\n"), "x", nil, 0, 1, false, 0, "x is NaN"},
		{"infinity is a number", exporter(t, "x +Inf\n"), "x", nil, 0, 1, true, 0, "x is +Inf"},
		{"a broken line", exporter(t, "x{a=} 1\n"), "x", nil, 0, 1, false, 0, "the lines of x: text format parsing error"},
		{"broken lines of other samples", exporter(t, "y{a=} 1\n<html>\nx 0 1795417718477\nz"), "x", nil, 0, 1, true, 80, "x is 0"},
		{"an endless line", exporter(t, strings.Repeat("y", maxPageLine+1)), "x", nil, 0, 1, false, 0, "a line longer than 64 KiB"},
		{"endless samples", exporter(t, strings.Repeat("x 1\n", maxPageSamples/4+10)), "x", nil, 0, 1, false, 0, "more than 256 KiB of x"},
		{"no exporter", "http://127.0.0.1:1/metrics", "x", nil, 0, 1, false, 0, "connection refused"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := run(t, metric("prometheus", 80, map[string]any{"url": tc.url, "sample": tc.sample, "labels": tc.labels,
				"best": tc.best, "worst": tc.worst}), Host{})
			want(t, r, tc.ok, tc.reason)
			if math.Abs(r.Value-tc.value) > 1e-9 {
				t.Errorf("value %v, want %v", r.Value, tc.value)
			}
		})
	}
}

// Most exporters use this library.
func TestAPageOfPrometheussOwnLibrary(t *testing.T) {
	registry := prom.NewRegistry()
	queue := prom.NewGaugeVec(prom.GaugeOpts{Name: "mail_queue_length", Help: "Mails that wait."}, []string{"queue", "path"})
	registry.MustRegister(queue)
	queue.WithLabelValues("deferred", "a \"b\"\\c\nd").Set(12.5)
	queue.WithLabelValues("active", "/").Set(1)
	s := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	defer s.Close()
	r := run(t, metric("prometheus", 100, map[string]any{
		"url": s.URL, "sample": "mail_queue_length", "labels": map[string]string{"path": "a \"b\"\\c\nd"}, "best": 0, "worst": 50,
	}), Host{})
	want(t, r, true, "is 12.5")
	if r.Value != 75 {
		t.Errorf("%+v", r)
	}
}

func TestExporterFailures(t *testing.T) {
	hang := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/500":
			http.Error(w, "x 1", http.StatusInternalServerError)
		case "/short":
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "x 1\n")
		case "/hang":
			io.WriteString(w, "x 1\n")
			w.(http.Flusher).Flush()
			<-hang
		case "/who":
			fmt.Fprintf(w, "x{auth=%q,accept=%q,y=%q} 1\n", r.Header.Get("Authorization"), r.Header.Get("Accept"), r.Header.Get("X-Y"))
		}
	}))
	defer s.Close()
	defer close(hang)
	of := func(url string, labels map[string]string) map[string]any {
		return map[string]any{"url": url, "sample": "x", "labels": labels, "best": 1, "worst": 0, "headers": map[string]string{"X-Y": "z"}}
	}
	want(t, run(t, metric("prometheus", 10, of(s.URL+"/500", nil)), Host{}), false, "status 500")
	want(t, run(t, metric("prometheus", 10, of(s.URL+"/short", nil)), Host{}), false, "unexpected EOF")
	c := metric("prometheus", 10, of(s.URL+"/hang", nil))
	c.Timeout = 100 * time.Millisecond
	want(t, run(t, c, Host{}), false, "timed out after 100ms")
	options := of(strings.Replace(s.URL, "http://", "http://me:pw@", 1)+"/who",
		map[string]string{"auth": "Basic bWU6cHc=", "accept": "text/plain; version=0.0.4", "y": "z"})
	want(t, run(t, metric("prometheus", 10, options), Host{}), true, "is 1")
}

func FuzzParseSample(f *testing.F) {
	f.Add("# TYPE x counter\nx{a=\"b\"} 3 1795417718477\nx 4\n", "x", "a", "b")
	f.Add("x{a=\"b\\n\",} NaN", "x", "a", "b\n")
	f.Add("x_bucket{le=\"+Inf\"} 1e9\n  x_bucket\t2", "x_bucket", "le", "+Inf")
	f.Fuzz(func(t *testing.T, page, name, label, value string) {
		if !sampleName.MatchString(name) {
			return
		}
		labels := map[string]string{label: value}
		got, err := parseSample(strings.NewReader(page), name, labels)
		if err == nil && (math.IsNaN(got) || !strings.Contains(page, name)) {
			t.Errorf("%q gives %v", page, got)
		}
		again, errAgain := parseSample(iotest.OneByteReader(strings.NewReader(page)), name, labels)
		if (err == nil) != (errAgain == nil) || err == nil && again != got {
			t.Errorf("%q gives %v (%v), then %v (%v)", page, got, err, again, errAgain)
		}
		if share := scale(got, 0, 10); !(share >= 0 && share <= 1) {
			t.Errorf("scale(%v) = %v", got, share)
		}
	})
}
