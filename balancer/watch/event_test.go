package watch

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// wire gives the bytes of an agent's event.
func wire(id, data string) string { return "id: " + id + "\nevent: health\ndata: " + data + "\n\n" }

func healthData(health int) string {
	return fmt.Sprintf(`{"service":"web","health":%d,"measured":100,"forced":null,"reason":"measured","at":"2026-01-02T03:04:05Z"}`, health)
}

func TestFramesOfAStream(t *testing.T) {
	tests := []struct {
		name, wire string
		want       []string // type and data of each
	}{
		{"event", "id: 1-2\nevent: health\ndata: {}\n\n", []string{"health {}"}},
		{"heartbeat", ": heartbeat\n\n", []string{" "}},
		{"retry, event, heartbeat", "retry: 1000\nid: 1\nevent: end\ndata: bye\n\n: heartbeat\n\n", []string{"end bye", " "}},
		{"CR LF", "event: health\r\ndata: 1\r\n\r\n:\r\n\r\n", []string{"health 1", " "}},
		{"data of several lines", "data: a\ndata\ndata: \ndata:b\n\n", []string{" a\n\n\nb"}},
		{"one space is taken away", "event:health\ndata:  x\n\n", []string{"health  x"}},
		{"fields nobody knows", "what: is\nthis\nevent: health\n\n", []string{"health "}},
		{"odd ids", "id: \x00\nid\nid: 18446744073709551616-x\ndata: 1\n\n", []string{" 1"}},
		{"a line longer than the buffer", "data: " + strings.Repeat("x", 5000) + "\n\n", []string{" " + strings.Repeat("x", 5000)}},
		{"only what is complete", "event: health\ndata: 1\n", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := frames{in: bufio.NewReaderSize(iotest.OneByteReader(strings.NewReader(tt.wire)), 64)}
			var got []string
			for {
				fr, err := f.next()
				if err != nil {
					if !errors.Is(err, io.ErrUnexpectedEOF) {
						t.Error(err)
					}
					break
				}
				got = append(got, fr.event+" "+string(fr.data))
			}
			if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	for name, wire := range map[string]io.Reader{
		"a line without an end":   endless("x"),
		"an event without an end": endless("data: x\n"),
		"empty lines of data":     endless("data\n"),
	} {
		t.Run(name, func(t *testing.T) {
			f := frames{in: bufio.NewReader(wire)}
			if _, err := f.next(); !errors.Is(err, errEventTooLong) {
				t.Errorf("got %v", err)
			}
			if len(f.data) > maxEvent || len(f.line) > maxEvent {
				t.Errorf("kept %d and %d bytes", len(f.data), len(f.line))
			}
		})
	}
}

// endless repeats a text for ever.
type endless string

func (e endless) Read(p []byte) (int, error) {
	n := 0
	for n+len(e) <= len(p) {
		n += copy(p[n:], e)
	}
	if n == 0 {
		n = copy(p, e)
	}
	return n, nil
}

func TestHealthOfAnEvent(t *testing.T) {
	tests := []struct {
		name, data string
		health     int
		detail     string
		err        string
	}{
		{"up", healthData(92), 92, "health 92", ""},
		{"forced", `{"service":"web","health":0,"forced":{"kind":"down","reason":"apt upgrades"},"reason":"forced down by kim: apt upgrades"}`, 0, "forced: apt upgrades", ""},
		{"a dependency fails", `{"service":"web","health":0,"forced":null,"reason":"Dependency::Script(false): exit status 1"}`, 0, "Dependency::Script(false): exit status 1", ""},
		{"0 without a reason", `{"service":"web","health":0}`, 0, "health 0", ""},
		{"below 0", `{"service":"web","health":-5}`, 0, "health -5", ""},
		{"beyond the kernel", `{"service":"web","health":70000}`, 65536, "health 70000", ""},
		{"unprintable reason", `{"service":"web","health":0,"reason":"a\u001b[31m\nb"}`, 0, "a", ""},
		{"another service", `{"service":"db","health":1}`, 0, "", `about "db" instead of "web"`},
		{"no service", `{"health":1}`, 0, "", "without a health or a service"},
		{"no health", `{"service":"web"}`, 0, "", "without a health or a service"},
		{"health null", `{"service":"web","health":null}`, 0, "", "without a health or a service"},
		{"a fraction", `{"service":"web","health":0.5}`, 0, "", "cannot be read"},
		{"too big for anything", `{"service":"web","health":1e99}`, 0, "", "cannot be read"},
		{"not JSON", `health 92`, 0, "", "cannot be read"},
		{"nothing", ``, 0, "", "cannot be read"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, err := parseHealth([]byte(tt.data), "web")
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			health, detail := e.read()
			if health != tt.health || !strings.HasPrefix(detail, tt.detail) || strings.ContainsAny(detail, "\n\x1b") {
				t.Errorf("got %d, %q; want %d, %q", health, detail, tt.health, tt.detail)
			}
		})
	}
}

func FuzzStream(f *testing.F) {
	f.Add([]byte("retry: 1000\n" + wire("6f41283c-2", healthData(92)) + ": heartbeat\n\nevent: end\ndata: the agent stops\n\n"))
	f.Add([]byte("data: {\ndata: }\r\n\r\n\n\n"))
	f.Add([]byte(wire("", `{"service":"web","health":-9223372036854775808,"forced":{}}`)))
	f.Fuzz(func(t *testing.T, sent []byte) {
		f := frames{in: bufio.NewReaderSize(bytes.NewReader(sent), 16)}
		for read := 0; ; read++ {
			fr, err := f.next()
			if err != nil {
				if read > bytes.Count(sent, []byte("\n")) {
					t.Fatalf("%d frames of %q", read, sent)
				}
				return
			}
			e, err := parseHealth(fr.data, "web")
			if err != nil {
				continue
			}
			if health, detail := e.read(); health < 0 || health > 65536 || detail == "" && (e.Forced == nil) || !json.Valid(fr.data) {
				t.Fatalf("%q gives %d, %q", fr.data, health, detail)
			}
		}
	})
}
