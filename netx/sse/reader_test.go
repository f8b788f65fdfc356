package sse

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// newTestReader reads text one byte at a time through a buffer of size bytes.
func newTestReader(text string, size int) *Reader {
	return NewReader(bufio.NewReaderSize(iotest.OneByteReader(strings.NewReader(text)), size))
}

func TestReaderParsesWhatTheWriterSends(t *testing.T) {
	r := newTestReader(string(Preamble([]byte(Heartbeat)))+string(Frame("7", "weight", `{"a":1}`)), 64)
	for _, want := range []Event{{}, {ID: "7", Name: "weight", Data: []byte(`{"a":1}`)}} {
		got, err := r.Next()
		if err != nil || got.ID != want.ID || got.Name != want.Name || string(got.Data) != string(want.Data) {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
}

func TestReaderParsesEvents(t *testing.T) {
	tests := []struct {
		name, wire string
		want       []string // "ID NAME DATA" of each event
	}{
		{"event", "id: 1-2\nevent: health\ndata: {}\n\n", []string{"1-2 health {}"}},
		{"heartbeat", ": heartbeat\n\n", []string{"  "}},
		{"retry, event, heartbeat", "retry: 1000\nid: 1\nevent: end\ndata: bye\n\n: heartbeat\n\n", []string{"1 end bye", "  "}},
		{"CR LF", "event: health\r\ndata: 1\r\n\r\n:\r\n\r\n", []string{" health 1", "  "}},
		{"multi-line data", "data: a\ndata\ndata: \ndata:b\n\n", []string{"  a\n\n\nb"}},
		{"one leading space is stripped", "event:health\ndata:  x\n\n", []string{" health  x"}},
		{"unknown fields", "what: is\nthis\nevent: health\n\n", []string{" health "}},
		{"unusual ids", "id: \x00\nid\nid: 18446744073709551616-x\ndata: 1\n\n", []string{"18446744073709551616-x  1"}},
		{"a line longer than the buffer", "data: " + strings.Repeat("x", 5000) + "\n\n", []string{"  " + strings.Repeat("x", 5000)}},
		{"an incomplete event is not returned", "event: health\ndata: 1\n", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newTestReader(tt.wire, 64)
			var got []string
			for {
				e, err := r.Next()
				if err != nil {
					if !errors.Is(err, io.ErrUnexpectedEOF) {
						t.Error(err)
					}
					break
				}
				got = append(got, e.ID+" "+e.Name+" "+string(e.Data))
			}
			if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestLeadingComments(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, Heartbeat: len(Heartbeat), Heartbeat + Heartbeat: 2 * len(Heartbeat), ":\r\n\r\n": 5, "\n": 1, // whole lines
		": heart": 0, Heartbeat + ":": len(Heartbeat), "data: 1\n\n": 0, Heartbeat + "id": len(Heartbeat), // partial lines and fields
		":\n\nid: 1\n\n": 3, "\r": 0,
	} {
		if got := LeadingComments([]byte(text)); got != want {
			t.Errorf("%q: %d bytes, want %d", text, got, want)
		}
	}
}

func TestReaderRejectsAnEndlessEvent(t *testing.T) {
	for name, wire := range map[string]io.Reader{
		"a line":              endless("x"),
		"an event":            endless("data: x\n"),
		"empty lines of data": endless("data\n"),
	} {
		t.Run(name, func(t *testing.T) {
			r := NewReader(bufio.NewReader(wire))
			if _, err := r.Next(); !errors.Is(err, errTooLong) {
				t.Errorf("got %v", err)
			}
			if len(r.data) > maxEventSize || len(r.line) > maxEventSize {
				t.Errorf("buffered %d and %d bytes", len(r.data), len(r.line))
			}
		})
	}
}

// endless repeats a text forever.
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

func FuzzReader(f *testing.F) {
	f.Add("retry: 1\n: heartbeat\n\n")
	f.Add("id: 1\nevent: x\ndata: {}\r\n\n" + strings.Repeat("x", 70_000))
	f.Fuzz(func(t *testing.T, text string) {
		if n := LeadingComments([]byte(text)); n > 0 {
			r := NewReader(bufio.NewReaderSize(strings.NewReader(text[:n]), 16))
			for e, err := r.Next(); err == nil; e, err = r.Next() {
				if e.Name+e.ID+string(e.Data) != "" {
					t.Fatalf("%q counts as comments but reads as %+v", text[:n], e)
				}
			}
		}
		r := NewReader(bufio.NewReaderSize(strings.NewReader(text), 16))
		for range len(text) + 1 {
			e, err := r.Next()
			if err != nil {
				return
			}
			if len(e.Data) > maxEventSize || strings.ContainsAny(e.Name+e.ID, "\n") {
				t.Fatalf("%+v", e)
			}
		}
		t.Fatal("more events than bytes")
	})
}
