package audit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func testTime() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }

func entry(reason string) Entry {
	return Entry{
		Time: testTime(), Change: Forced, Service: "web", Kind: "down", Reason: reason, Who: "kim", Peer: "uid 0 (pid 42)",
		Expires: testTime().Add(time.Hour),
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestEachChangeIsOneLineOfJSON(t *testing.T) {
	dir := t.TempDir()
	l := New(dir)
	value := 42
	for _, e := range []Entry{
		entry("two\nlines\x1b[31m and \xff"),
		{
			Time: testTime().Add(time.Minute), Change: Deleted, Kind: "health", Value: &value,
			Reason: "", Who: "ann", Peer: "10.0.0.1:4242", SetAt: testTime(),
		},
		{
			Time: testTime().Add(time.Hour), Change: Expired, Service: "web", Kind: "down", Reason: "x", Who: "kim",
			SetAt: testTime(), Expires: testTime().Add(time.Hour),
		},
	} {
		if err := l.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	const want = `{"time":"2026-11-23T12:00:00Z","change":"forced","service":"web","kind":"down","reason":"two lines [31m and ` + "\ufffd" +
		`","who":"kim","peer":"uid 0 (pid 42)","expires":"2026-11-23T13:00:00Z"}` + "\n" +
		`{"time":"2026-11-23T12:01:00Z","change":"deleted","kind":"health","value":42,"reason":"","who":"ann",` +
		`"peer":"10.0.0.1:4242","given":"2026-11-23T12:00:00Z"}` + "\n" +
		`{"time":"2026-11-23T13:00:00Z","change":"expired","service":"web","kind":"down","reason":"x","who":"kim",` +
		`"given":"2026-11-23T12:00:00Z","expires":"2026-11-23T13:00:00Z"}` + "\n"
	if got := read(t, filepath.Join(dir, FileName)); got != want {
		t.Errorf("the log contains\n%s\nwant\n%s", got, want)
	}
	if err := New(filepath.Join(dir, "gone")).Append(entry("x")); err == nil || !strings.Contains(err.Error(), "free disk space") {
		t.Errorf("Append = %v, want an error that names the fix", err)
	}
}
