package audit

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func at() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }

func entry(reason string) Entry {
	return Entry{Time: at(), Change: Forced, Service: "web", Kind: "down", Reason: reason, Who: "kim", Peer: "uid 0 (pid 42)", Expires: at().Add(time.Hour)}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestEveryChangeIsOneLineOfJSON(t *testing.T) {
	dir := t.TempDir()
	l := New(dir)
	value := 42
	for _, e := range []Entry{
		entry("two\nlines\x1b[31m and \xff"),
		{Time: at().Add(time.Minute), Change: Deleted, Kind: "health", Value: &value, Reason: "", Who: "ann", Peer: "10.0.0.1:4242", Given: at()},
		{Time: at().Add(time.Hour), Change: Expired, Service: "web", Kind: "down", Reason: "x", Who: "kim", Given: at(), Expires: at().Add(time.Hour)},
	} {
		if err := l.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	const want = `{"time":"2026-11-23T12:00:00Z","change":"forced","service":"web","kind":"down","reason":"two lines [31m and ` + "\ufffd" + `","who":"kim","peer":"uid 0 (pid 42)","expires":"2026-11-23T13:00:00Z"}
{"time":"2026-11-23T12:01:00Z","change":"deleted","kind":"health","value":42,"reason":"","who":"ann","peer":"10.0.0.1:4242","given":"2026-11-23T12:00:00Z"}
{"time":"2026-11-23T13:00:00Z","change":"expired","service":"web","kind":"down","reason":"x","who":"kim","given":"2026-11-23T12:00:00Z","expires":"2026-11-23T13:00:00Z"}
`
	if got := read(t, filepath.Join(dir, FileName)); got != want {
		t.Errorf("the record has\n%s\nwant\n%s", got, want)
	}
	if info, err := os.Stat(filepath.Join(dir, FileName)); err != nil || info.Mode() != mode {
		t.Errorf("mode %v, %v; want %o", info.Mode(), err, mode)
	}
}

func TestTheRecordIsBounded(t *testing.T) {
	dir := t.TempDir()
	l := New(dir)
	l.maxSize = 1000
	for i := range 200 {
		if err := l.Append(entry(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1+olderKept {
		t.Fatalf("%d files, %v; want %d", len(files), err, 1+olderKept)
	}
	next := 199 // from the newest line back, none is missing, doubled or cut
	for _, name := range []string{"", ".1", ".2", ".3", ".4"} {
		text := read(t, filepath.Join(dir, FileName+name))
		if len(text) > 1000 {
			t.Errorf("part %q has %d bytes", name, len(text))
		}
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		for i := len(lines) - 1; i >= 0; i-- {
			var e Entry
			if err := json.Unmarshal([]byte(lines[i]), &e); err != nil || e.Reason != fmt.Sprint(next) {
				t.Fatalf("part %q, line %d: %q, %v; want reason %d", name, i, lines[i], err, next)
			}
			next--
		}
	}
}

func TestHalfALineOfACrashDoesNotSpoilTheNext(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, FileName)
	if err := os.WriteFile(path, []byte(`{"time":"2026-`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := New(dir).Append(entry("x")); err != nil {
		t.Fatal(err)
	}
	first, second, _ := strings.Cut(read(t, path), "\n")
	if first != `{"time":"2026-` || !json.Valid([]byte(second)) {
		t.Errorf("the record has %q, then %q", first, second)
	}
}

func TestWhatIsNoFileIsNotWritten(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, FileName), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := New(dir).Append(entry("x")); err == nil || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("Append = %v, want that something is in the way", err)
	}
	if err := New(filepath.Join(dir, "gone")).Append(entry("x")); err == nil || !strings.Contains(err.Error(), "free space") {
		t.Errorf("Append = %v, want what to do about it", err)
	}
}

func TestLinesOfSeveralWritersDoNotMix(t *testing.T) {
	dir := t.TempDir()
	l := New(dir)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10 {
				if err := l.Append(entry("x")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	text := read(t, filepath.Join(dir, FileName))
	for line := range strings.Lines(text) {
		if !json.Valid([]byte(line)) {
			t.Errorf("line %q", line)
		}
	}
	if n := strings.Count(text, "\n"); n != 40 {
		t.Errorf("%d lines, want 40", n)
	}
}

// A full disk: a limit on the size of files cuts a write short as a full disk does, in a process of its own.
func TestAFullDiskLeavesNoPartOfALine(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("/bin/sh", "-c", `ulimit -f 1; exec "$0" -test.run='^TestHelperProcess$'`, os.Args[0])
	cmd.Env = append(os.Environ(), "AUDIT_TEST_DIR="+dir)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("helper: %v: %s", err, out)
	}
	if !strings.Contains(string(out), "error: write to the audit log "+dir) {
		t.Errorf("helper said %q, want an error", out)
	}
	text := read(t, filepath.Join(dir, FileName))
	if text == "" || !strings.HasSuffix(text, "\n") {
		t.Errorf("the record has %q, want whole lines", text)
	}
}

// TestHelperProcess is not a test of its own: the test above runs it as another process.
func TestHelperProcess(t *testing.T) {
	dir := os.Getenv("AUDIT_TEST_DIR")
	if dir == "" {
		return
	}
	l := New(dir)
	for range 20 { // some 3 KB, of which the limit takes 512 or 1024 bytes
		if err := l.Append(entry("x")); err != nil {
			fmt.Println("error:", err)
			return
		}
	}
}
