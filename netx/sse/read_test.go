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

// reader reads a text by a buffer of that many bytes, a byte at a time.
func reader(text string, size int) *Reader {
	return NewReader(bufio.NewReaderSize(iotest.OneByteReader(strings.NewReader(text)), size))
}

func TestReaderReadsWhatIsWritten(t *testing.T) {
	r := reader(string(Preamble([]byte(Heartbeat)))+string(Frame("7", "weight", `{"a":1}`)), 64)
	for _, want := range []Event{{}, {ID: "7", Name: "weight", Data: []byte(`{"a":1}`)}} {
		got, err := r.Next()
		if err != nil || got.ID != want.ID || got.Name != want.Name || string(got.Data) != string(want.Data) {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
}

func TestEventsOfAStream(t *testing.T) {
	tests := []struct {
		name, wire string
		want       []string // id, name and data of each
	}{
		{"event", "id: 1-2\nevent: health\ndata: {}\n\n", []string{"1-2 health {}"}},
		{"heartbeat", ": heartbeat\n\n", []string{"  "}},
		{"retry, event, heartbeat", "retry: 1000\nid: 1\nevent: end\ndata: bye\n\n: heartbeat\n\n", []string{"1 end bye", "  "}},
		{"CR LF", "event: health\r\ndata: 1\r\n\r\n:\r\n\r\n", []string{" health 1", "  "}},
		{"data of several lines", "data: a\ndata\ndata: \ndata:b\n\n", []string{"  a\n\n\nb"}},
		{"one space is taken away", "event:health\ndata:  x\n\n", []string{" health  x"}},
		{"fields nobody knows", "what: is\nthis\nevent: health\n\n", []string{" health "}},
		{"odd ids", "id: \x00\nid\nid: 18446744073709551616-x\ndata: 1\n\n", []string{"18446744073709551616-x  1"}},
		{"a line longer than the buffer", "data: " + strings.Repeat("x", 5000) + "\n\n", []string{"  " + strings.Repeat("x", 5000)}},
		{"only what is complete", "event: health\ndata: 1\n", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := reader(tt.wire, 64)
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

func TestCommentsAreKnownWithoutReading(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, Heartbeat: len(Heartbeat), Heartbeat + Heartbeat: 2 * len(Heartbeat), ":\r\n\r\n": 5, "\n": 1, // whole
		": heart": 0, Heartbeat + ":": len(Heartbeat), "data: 1\n\n": 0, Heartbeat + "id": len(Heartbeat), ":\n\nid: 1\n\n": 3, "\r": 0, // and what is not
	} {
		if got := LeadingComments([]byte(text)); got != want {
			t.Errorf("%q: %d bytes, want %d", text, got, want)
		}
	}
}

func TestAnEventWithoutAnEndIsGivenUp(t *testing.T) {
	for name, wire := range map[string]io.Reader{
		"a line":              endless("x"),
		"an event":            endless("data: x\n"),
		"empty lines of data": endless("data\n"),
	} {
		t.Run(name, func(t *testing.T) {
			r := NewReader(bufio.NewReader(wire))
			if _, err := r.Next(); !errors.Is(err, ErrTooLong) {
				t.Errorf("got %v", err)
			}
			if len(r.data) > maxEvent || len(r.line) > maxEvent {
				t.Errorf("kept %d and %d bytes", len(r.data), len(r.line))
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

func FuzzReader(f *testing.F) {
	f.Add("retry: 1\n: heartbeat\n\n")
	f.Add("id: 1\nevent: x\ndata: {}\r\n\n" + strings.Repeat("x", 70_000))
	f.Fuzz(func(t *testing.T, text string) {
		if n := LeadingComments([]byte(text)); n > 0 {
			r := NewReader(bufio.NewReaderSize(strings.NewReader(text[:n]), 16))
			for e, err := r.Next(); err == nil; e, err = r.Next() {
				if e.Name+e.ID+string(e.Data) != "" {
					t.Fatalf("%q is taken for comments and reads as %+v", text[:n], e)
				}
			}
		}
		r := NewReader(bufio.NewReaderSize(strings.NewReader(text), 16))
		for range len(text) + 1 {
			e, err := r.Next()
			if err != nil {
				return
			}
			if len(e.Data) > maxEvent || strings.ContainsAny(e.Name+e.ID, "\n") {
				t.Fatalf("%+v", e)
			}
		}
		t.Fatal("more events than bytes")
	})
}
