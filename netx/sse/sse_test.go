package sse

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestStreamWireFormat(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		to, err := Begin(w, DefaultHeartbeat)
		if err != nil {
			t.Error(err)
			return
		}
		for _, data := range [][]byte{Preamble(Frame("7", "health", "{}")), []byte(Heartbeat), Frame("", "end", "bye")} {
			if _, err := to.Write(data); err != nil {
				t.Error(err)
			}
		}
	}))
	defer s.Close()
	r, err := s.Client().Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body := make([]byte, 1000)
	n := 0
	for {
		m, err := r.Body.Read(body[n:])
		n += m
		if err != nil {
			break
		}
	}
	const want = "retry: 1000\nid: 7\nevent: health\ndata: {}\n\n: heartbeat\n\nevent: end\ndata: bye\n\n"
	if string(body[:n]) != want || r.Header.Get("Content-Type") != "text/event-stream" || r.Header.Get("X-Heartbeat") != "1" {
		t.Errorf("got %q with %v, want %q", body[:n], r.Header, want)
	}
}

func TestBeginFailsWithoutWriteDeadlines(t *testing.T) {
	w := httptest.NewRecorder()
	if _, err := Begin(w, DefaultHeartbeat); err == nil || w.Body.Len() > 0 {
		t.Errorf("%v, %q", err, w.Body)
	}
}
