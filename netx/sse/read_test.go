package sse

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func TestReaderReadsWhatIsWritten(t *testing.T) {
	text := string(First([]byte(Heartbeat))) + string(Frame("7", "weight", `{"a":1}`)) + "data: two\r\ndata:lines\r\n\r\n" + "event: cut"
	r := NewReader(strings.NewReader(text))
	for _, want := range []Event{{}, {ID: "7", Name: "weight", Data: []byte(`{"a":1}`)}, {Data: []byte("two\nlines")}} {
		got, err := r.Next()
		if err != nil || got.ID != want.ID || got.Name != want.Name || string(got.Data) != string(want.Data) {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
	if e, err := r.Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("what was cut off reads as %+v, %v", e, err)
	}
}

func FuzzReader(f *testing.F) {
	f.Add("retry: 1\n: heartbeat\n\n")
	f.Add("id: 1\nevent: x\ndata: {}\r\n\n" + strings.Repeat("x", 70_000))
	f.Fuzz(func(t *testing.T, text string) {
		r := NewReader(strings.NewReader(text))
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
