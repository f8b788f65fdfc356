package agenttest

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/braintree/lb/agent/api"
)

// Event is an event or a comment of a stream.
type Event struct {
	ID, Name, Data, Comment string
}

// Health decodes the event's data.
func (e Event) Health(t testing.TB) api.HealthEvent {
	t.Helper()
	var h api.HealthEvent
	if e.Name != "health" || json.Unmarshal([]byte(e.Data), &h) != nil {
		t.Fatalf("%+v is not a health event", e)
	}
	return h
}

// Watcher is a client of a stream.
type Watcher struct {
	Header http.Header // of the response

	t     testing.TB
	body  io.Closer
	lines *bufio.Scanner
}

// Watch opens a stream. lastID may be "".
func Watch(t testing.TB, c *http.Client, url, lastID string) *Watcher {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	response, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("GET %s: %s %v", url, response.Status, response.Header)
	}
	return &Watcher{Header: response.Header, t: t, body: response.Body, lines: bufio.NewScanner(response.Body)}
}

// Next reads an event or comment; false: the stream has ended.
func (w *Watcher) Next() (e Event, more bool) {
	for w.lines.Scan() {
		field, value, _ := strings.Cut(w.lines.Text(), ": ")
		switch field {
		case "id":
			e.ID = value
		case "event":
			e.Name = value
		case "data":
			e.Data = value
		case "":
			if w.lines.Text() == "" {
				return e, true
			}
			e.Comment = value
		case "retry":
		default:
			w.t.Errorf("the stream has the line %q", w.lines.Text())
		}
	}
	return e, false
}

// NextEvent reads the next event and skips heartbeats.
func (w *Watcher) NextEvent() Event {
	w.t.Helper()
	for {
		switch e, more := w.Next(); {
		case !more:
			w.t.Fatalf("the stream has ended: %v", w.lines.Err())
		case e.Comment == "":
			return e
		}
	}
}

// Close disconnects.
func (w *Watcher) Close() { w.body.Close() }
