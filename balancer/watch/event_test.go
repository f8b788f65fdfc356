package watch

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/braintree/lb/netx/sse"
)

// healthFrame returns a "health" event as the agent sends it.
func healthFrame(id, data string) string {
	return "id: " + id + "\nevent: health\ndata: " + data + "\n\n"
}

func healthData(health int) string {
	return fmt.Sprintf(`{"service":"web","health":%d,"measured":100,"forced":null,"reason":"measured","at":"2026-01-02T03:04:05Z"}`, health)
}

func TestHealthOfAnEvent(t *testing.T) {
	tests := []struct {
		name, data string
		health     int
		detail     string
		err        string
	}{
		{"up", healthData(92), 92, "agent reported health 92", ""},
		{"forced",
			`{"service":"web","health":0,"forced":{"kind":"down","reason":"apt upgrades"},"reason":"forced down by kim: apt upgrades"}`,
			0, "agent reported health 0, forced: apt upgrades", ""},
		{"a ceiling", `{"service":"web","health":0,"measured":85,"forced":{"kind":"health","reason":"apt upgrades"}}`, 0,
			"agent reported health 0, forced: apt upgrades", ""},
		{"a ceiling over a measured 0",
			`{"service":"web","health":0,"measured":0,"forced":{"kind":"health","reason":"new disks"},` +
				`"reason":"Dependency::Script(false): exit status 1"}`,
			0, "agent reported health 0: Dependency::Script(false): exit status 1", ""},
		{"a dependency fails", `{"service":"web","health":0,"forced":null,"reason":"Dependency::Script(false): exit status 1"}`, 0,
			"agent reported health 0: Dependency::Script(false): exit status 1", ""},
		{"0 without a reason", `{"service":"web","health":0}`, 0, "agent reported health 0", ""},
		{"below 0", `{"service":"web","health":-5}`, 0, "agent reported health -5", ""},
		{"too large for a weight", `{"service":"web","health":70000}`, 65536, "agent reported health 70000", ""},
		{"unprintable reason", `{"service":"web","health":0,"reason":"a\u001b[31m\nb"}`, 0, "agent reported health 0: a", ""},
		{"another service", `{"service":"db","health":1}`, 0, "", `for service "db", want "web"`},
		{"no service", `{"health":1}`, 0, "", "without health or service"},
		{"no health", `{"service":"web"}`, 0, "", "without health or service"},
		{"health null", `{"service":"web","health":null}`, 0, "", "without health or service"},
		{"a fraction", `{"service":"web","health":0.5}`, 0, "", "parse event"},
		{"too large for an integer", `{"service":"web","health":1e99}`, 0, "", "parse event"},
		{"not JSON", `health 92`, 0, "", "parse event"},
		{"nothing", ``, 0, "", "parse event"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, err := parseHealthEvent([]byte(tt.data), "web")
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			health, detail := e.result()
			if health != tt.health || !strings.HasPrefix(detail, tt.detail) || strings.ContainsAny(detail, "\n\x1b") {
				t.Errorf("got %d, %q; want %d, %q", health, detail, tt.health, tt.detail)
			}
		})
	}
}

func FuzzStream(f *testing.F) {
	f.Add([]byte("retry: 1000\n" + healthFrame("6f41283c-2", healthData(92)) + ": heartbeat\n\nevent: end\ndata: the agent stops\n\n"))
	f.Add([]byte("data: {\ndata: }\r\n\r\n\n\n"))
	f.Add([]byte(healthFrame("", `{"service":"web","health":-9223372036854775808,"forced":{}}`)))
	f.Fuzz(func(t *testing.T, sent []byte) {
		events := sse.NewReader(bufio.NewReaderSize(bytes.NewReader(sent), 16))
		for read := 0; ; read++ {
			event, err := events.Next()
			if err != nil {
				if read > bytes.Count(sent, []byte("\n")) {
					t.Fatalf("%d frames from %q", read, sent)
				}
				return
			}
			e, err := parseHealthEvent(event.Data, "web")
			if err != nil {
				continue
			}
			if health, detail := e.result(); health < 0 || health > 65536 || detail == "" || !json.Valid(event.Data) {
				t.Fatalf("%q gives %d, %q", event.Data, health, detail)
			}
		}
	})
}
