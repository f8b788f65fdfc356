package watch

import (
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/braintree/lb/balancer/decide"
)

// The unusual forms come from compat/bigbro-agent-answers.txt, which records how big_brother reads them.
func TestHealthOfAResponse(t *testing.T) {
	header := func(value string) http.Header { return http.Header{"X-Health": {value}} }
	tests := []struct {
		name   string
		status int
		header http.Header
		body   string
		want   int
	}{
		{"header", 200, header("92"), "", 92},
		{"header before body", 200, header("92"), "Health: 10\n", 92},
		{"body", 200, nil, "Health: 55\nMeasured Health: 60\n", 55},
		{"measured health before health", 200, nil, "Measured Health: 90\nHealth: 10\n", 10},
		{"measured health before health, with carriage returns", 200, nil, "Measured Health: 90\r\nHealth: 10\r\n", 10},
		{"only a measured health", 200, nil, "Measured Health: 90\n", 0},
		{"a health within a line", 200, nil, "Forced Reason: Health: 90\nHealth: 10\n", 10},
		{"the first of two lines", 200, nil, "Health: 60\nHealth: 55\n", 60},
		{"number and more in the body", 200, nil, "Health: 33.9\n", 33},
		{"neither", 200, nil, "fine", 0},
		{"503 with a health", 503, header("55"), "Health: 55", 0},
		{"404", 404, nil, "NOT FOUND", 0},
		{"302", 302, header("55"), "", 0},
		{"204", 204, header("55"), "", 0},
		{"more than 100", 200, header("250"), "", 250},
		{"negative", 200, header("-5"), "", 0},
		{"negative in the body", 200, nil, "Health: -5", 0},
		{"no number", 200, header("abc"), "Health: 10", 0},
		{"fraction", 200, header("33.9"), "", 33},
		{"space around", 200, header(" 42 "), "", 42},
		{"number and more", 200, header("12abc"), "", 12},
		{"empty", 200, header(""), "Health: 10", 0},
		{"plus", 200, header("+7"), "", 7},
		{"underscore", 200, header("1_0"), "", 10},
		{"two underscores", 200, header("1__0"), "", 1},
		{"leading underscore", 200, header("_10"), "", 0},
		{"too large for a weight", 200, header("65536"), "", 65536},
		{"a thousand digits", 200, header(strings.Repeat("9", 1000)), "", 65536},
		{"a thousand negative digits", 200, header("-" + strings.Repeat("9", 1000)), "", 0},
		{"several headers", 200, http.Header{"X-Health": {"5", "6"}}, "", 5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, detail := parseResponse(tt.status, tt.header, []byte(tt.body))
			if got != tt.want || detail == "" {
				t.Errorf("health %d (%q), want %d", got, detail, tt.want)
			}
		})
	}
}

func TestDownResponseGivesTheReason(t *testing.T) {
	for _, tt := range []struct{ name, body, want string }{
		{"forced", "Health: 0\nMeasured Health: 85\nForced Reason: apt upgrades\nDependency::HTTP(http://a/): OK\n",
			"agent reported health 0, forced: apt upgrades"},
		{"a ceiling over a measured 0", "Health: 0\nMeasured Health: 0\nForced Reason: new disks 50\nDependency::HTTP(http://a/): FAIL\n",
			"agent reported health 0: Dependency::HTTP(http://a/) failed"},
		{"forced before a failing dependency", "Health: 0\nForced Reason: apt upgrades\nDependency::HTTP(http://a/): FAIL\n",
			"agent reported health 0, forced: apt upgrades"},
		{"a dependency fails", "Health: 0\nDependency::TCP(a:1): OK\nDependency::HTTP(http://a/): FAIL\nDependency::TCP(b:1): FAIL\n",
			"agent reported health 0: Dependency::HTTP(http://a/) failed"},
		{"no reason", "Health: 0\nMeasured Health: 0\n", "agent returned status 503, counted as health 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var header http.Header // early agents do not send X-Health-Forced
			if tt.name == "a ceiling over a measured 0" {
				header = http.Header{"X-Health-Forced": {"health"}}
			}
			if _, detail := parseResponse(503, header, []byte(tt.body)); detail != tt.want {
				t.Errorf("detail %q, want %q", detail, tt.want)
			}
		})
	}
}

func FuzzParseResponse(f *testing.F) {
	f.Add(200, true, "92", []byte("Health: 10"))
	f.Add(200, false, "", []byte("x Health: 99999999999999999999 y"))
	f.Add(503, true, " -1_0", []byte{0xff, 0xfe})
	f.Fuzz(func(t *testing.T, status int, inHeader bool, value string, body []byte) {
		header := http.Header{}
		if inHeader {
			header["X-Health"] = []string{value}
		}
		got, detail := parseResponse(status, header, body)
		switch {
		case got < 0 || got > decide.MaxWeight+1:
			t.Errorf("health %d is out of range", got)
		case status != http.StatusOK && got != 0:
			t.Errorf("status %d gives health %d", status, got)
		case detail == "" || !utf8.ValidString(detail) || strings.ContainsAny(detail, "\n\r"):
			t.Errorf("detail %q is not one line of text", detail)
		}
	})
}
