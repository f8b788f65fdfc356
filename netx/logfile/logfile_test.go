package logfile

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// line returns a numbered line of 50 bytes.
func line(n int) []byte { return fmt.Appendf(nil, "%049d\n", n) }

func TestFilesAreRotatedAndTheirNumberIsBounded(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.log")
	l := New(path, 1000, 4)
	for i := range 200 {
		if err := l.Append(line(i)); err != nil {
			t.Fatal(err)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 5 {
		t.Fatalf("%d files, %v; want 5", len(files), err)
	}
	var all string // contiguous from the oldest line: none missing, repeated or cut short
	for _, part := range []string{".4", ".3", ".2", ".1", ""} {
		text := read(t, path+part)
		if len(text) > 1000 {
			t.Errorf("file %q has %d bytes", part, len(text))
		}
		all += text
	}
	var want strings.Builder
	for i := 200 - len(all)/50; i < 200; i++ {
		want.Write(line(i))
	}
	if all != want.String() {
		t.Errorf("the files contain\n%s", all)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != mode {
		t.Errorf("mode %v, %v; want %o", info.Mode(), err, mode)
	}
}

func TestTailReturnsWholeLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	l := New(path, 100, 1)
	if text, err := l.Tail(1000); len(text) > 0 || err != nil {
		t.Errorf("without a file: %q, %v", text, err)
	}
	for i := range 3 { // the third rotates the file
		if err := l.Append(line(i)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		n    int64
		want string
	}{
		{1000, string(line(0)) + string(line(1)) + string(line(2))},
		{149, string(line(1)) + string(line(2))},
		{50, string(line(2))},
		{49, ""},
		{0, ""},
	} {
		if got, err := l.Tail(tt.n); string(got) != tt.want || err != nil {
			t.Errorf("Tail(%d) = %q, %v; want %q", tt.n, got, err, tt.want)
		}
	}
	if err := os.WriteFile(path, append(line(7), "half"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := l.Tail(60); string(got) != string(line(7)) || err != nil {
		t.Errorf("with an unfinished line at the end: %q, %v", got, err)
	}
}

func TestALineCutShortByACrashDoesNotCorruptTheNext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := New(path, 1000, 1).Append(line(1)); err != nil {
		t.Fatal(err)
	}
	if got := read(t, path); got != "half\n"+string(line(1)) {
		t.Errorf("the file contains %q", got)
	}
}

func TestAPathThatIsNotARegularFileIsRejected(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	l := New(path, 1000, 1)
	if err := l.Append(line(1)); err == nil || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("Append = %v, want an error that names the fix", err)
	}
	if _, err := l.Tail(10); err == nil || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("Tail = %v, want an error that names the fix", err)
	}
}

func TestConcurrentWritersDoNotInterleaveLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	l := New(path, 10_000, 1)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10 {
				if err := l.Append(line(1)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := read(t, path); got != strings.Repeat(string(line(1)), 40) {
		t.Errorf("the file contains %q", got)
	}
}

// A file size limit cuts a write short just as a full disk does. It is set in a separate process.
func TestAFullDiskLeavesNoPartialLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	cmd := exec.Command("/bin/sh", "-c", `ulimit -f 1; exec "$0" -test.run='^TestHelperProcess$'`, os.Args[0])
	cmd.Env = append(os.Environ(), "LOGFILE_TEST_PATH="+path)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("helper: %v: %s", err, out)
	}
	if !strings.Contains(string(out), "error: "+path) {
		t.Errorf("the helper printed %q, want an error", out)
	}
	if text := read(t, path); text == "" || len(text)%50 != 0 {
		t.Errorf("the file contains %q, want whole lines", text)
	}
}

// TestHelperProcess is no test: TestAFullDiskLeavesNoPartialLine runs it in a separate process.
func TestHelperProcess(t *testing.T) {
	path := os.Getenv("LOGFILE_TEST_PATH")
	if path == "" {
		return
	}
	l := New(path, 10_000, 1)
	for i := range 30 { // 1500 bytes; the limit is 512 or 1024
		if err := l.Append(line(i)); err != nil {
			fmt.Println("error:", err)
			return
		}
	}
}
