package journal

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/balancer/event"
)

// written runs the journal until its file has every event.
func written(t *testing.T, l *Journal) {
	t.Helper()
	l.Start()()
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// numbers prints the range of the events' numbers.
func numbers(events []event.Event) string {
	if len(events) == 0 {
		return "none"
	}
	return fmt.Sprintf("%d-%d (%d)", events[0].Number, events[len(events)-1].Number, len(events))
}

func TestEventsAreNumberedAndKept(t *testing.T) {
	l := Open("", quiet())
	if events, missed := l.Since(0); len(events) > 0 || missed != 0 || l.Last() != 0 {
		t.Errorf("at the start there are %v, missed %d", events, missed)
	}
	for range 3*ringSize + 10 {
		l.Add(event.Now(event.Weight, "x"))
	}
	const last = 3*ringSize + 10
	for _, tt := range []struct {
		name   string
		since  uint64
		want   string
		missed uint64
	}{
		{"all", 0, fmt.Sprintf("%d-%d (%d)", last-ringSize+1, last, ringSize), last - ringSize},
		{"the last two", last - 2, fmt.Sprintf("%d-%d (2)", last-1, last), 0},
		{"nothing new", last, "none", 0},
		{"a number of another run", last + 1, fmt.Sprintf("%d-%d (%d)", last-ringSize+1, last, ringSize), last - ringSize},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, missed := l.Since(tt.since); numbers(got) != tt.want || missed != tt.missed {
				t.Errorf("%s, missed %d; want %s, %d", numbers(got), missed, tt.want, tt.missed)
			}
		})
	}
}

func TestTextsAreBoundedLines(t *testing.T) {
	l := Open("", quiet())
	l.Add(event.Event{Kind: event.NodeDown, Text: "down", Cause: "two\nlines\x1b[31m" + strings.Repeat("x", 1000)})
	events, _ := l.Since(0)
	if c := events[0].Cause; !strings.HasPrefix(c, "two lines [31mxxx") || len(c) > 500 {
		t.Errorf("cause %q", c)
	}
}

func TestTimesAreInUTC(t *testing.T) {
	l := Open("", quiet())
	at := time.Date(2026, 11, 25, 13, 0, 0, 0, time.FixedZone("CET", 3600))
	l.Add(event.Event{Time: at, Kind: event.Weight})
	if events, _ := l.Since(0); events[0].Time != at.UTC() {
		t.Errorf("the event is of %v, want %v", events[0].Time, at.UTC())
	}
}

func TestWaitReturnsTheNextEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := Open("", quiet())
		got := make(chan string)
		go func() {
			for n := uint64(7); n != 3; { // a number of another run
				events, _, err := l.Wait(t.Context(), n)
				if err != nil {
					t.Error(err)
				}
				got <- numbers(events)
				n = events[len(events)-1].Number
			}
		}()
		synctest.Wait() // there is none yet
		l.Add(event.Now(event.Weight, "a"))
		if s := <-got; s != "1-1 (1)" {
			t.Errorf("got %s", s)
		}
		synctest.Wait()
		l.Add(event.Now(event.Weight, "b"))
		l.Add(event.Now(event.Weight, "c"))
		for s := ""; s != "2-3 (2)" && s != "3-3 (1)"; {
			s = <-got
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := l.Wait(ctx, 3); err == nil {
			t.Error("Wait ended without an event")
		}
	})
}

func TestNumbersContinueAfterARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "balancer")
	l := Open(dir, quiet())
	for range 3 {
		l.Add(event.Event{Time: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC), Kind: event.Weight, Text: "weight",
			Cluster: "web", Mark: 7, Node: "10.0.0.1", Old: "92", New: "0"})
	}
	written(t, l)
	text, err := os.ReadFile(filepath.Join(dir, event.FileName))
	const line = `{"number":3,"time":"2026-11-25T12:00:00Z","kind":"weight","text":"weight",` +
		`"cluster":"web","mark":7,"node":"10.0.0.1","old":"92","new":"0"}` + "\n"
	if err != nil || !strings.HasSuffix(string(text), line) || strings.Count(string(text), "\n") != 3 {
		t.Errorf("the file has %q, %v", text, err)
	}
	again := Open(dir, quiet())
	if got, missed := again.Since(0); numbers(got) != "1-3 (3)" || missed != 0 {
		t.Errorf("after the restart: %s, missed %d", numbers(got), missed)
	}
	again.Add(event.Now(event.Weight, "x"))
	if again.Last() != 4 {
		t.Errorf("the next number is %d, want 4", again.Last())
	}
}

func TestAFailingFileIsReportedOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "balancer")
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // a file where the folder should be
		t.Fatal(err)
	}
	var said strings.Builder
	l := Open(dir, slog.New(slog.NewTextHandler(&said, nil)))
	said.Reset()
	for range 3 {
		l.Add(event.Now(event.Weight, "x"))
		written(t, l)
	}
	if l.Lost() != 3 || strings.Count(said.String(), "cannot write events") != 1 {
		t.Errorf("lost %d; the log has %q", l.Lost(), &said)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	l.Add(event.Now(event.Weight, "y"))
	written(t, l)
	if got, _ := Open(dir, quiet()).Since(0); numbers(got) != "4-4 (1)" || !strings.Contains(said.String(), "written to their file again") {
		t.Errorf("the file has %s; the log has %q", numbers(got), &said)
	}
}

// Events that left memory before they were written count as lost.
func TestEventsTheFileWasTooSlowForAreCounted(t *testing.T) {
	l := Open(t.TempDir(), quiet())
	const late = 10
	for range ringSize + late {
		l.Add(event.Now(event.Weight, "x"))
	}
	written(t, l)
	if l.Lost() != late {
		t.Errorf("%d are missing, want %d", l.Lost(), late)
	}
}

func TestADamagedFileIsReadAfterTheDamage(t *testing.T) {
	line := func(n int) string { return fmt.Sprintf("{\"number\":%d,\"kind\":\"weight\"}\n", n) }
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", "none"},
		{"a gap, as of a full disk", line(1) + line(2) + line(7) + line(8), "7-8 (2)"},
		{"half a line of a crash", line(1) + "{\"numb\n" + line(2), "1-2 (2)"},
		{"another program's", "hello\n[]\n{}\n", "none"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := numbers(parse([]byte(tt.text))); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func FuzzFile(f *testing.F) {
	f.Add([]byte("{\"number\":1}\n{\"number\":2}\n"))
	f.Add([]byte("{\"number\":18446744073709551615}\n{\"number\":0}\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		events := parse(text)
		if len(events) > ringSize {
			t.Fatalf("%d events", len(events))
		}
		for i, e := range events {
			if e.Number != events[0].Number+uint64(i) {
				t.Fatalf("event %d has number %d, the first has %d", i, e.Number, events[0].Number)
			}
		}
	})
}
