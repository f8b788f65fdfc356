package override

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/braintree/lb/balancer/decide"
)

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	put(t, dir+"/down/web", "")
	put(t, dir+"/down/both", "down")
	put(t, dir+"/up/both", "up wins\n")
	put(t, dir+"/up/long", strings.Repeat("long ", 1000))
	put(t, dir+"/up/rude", "two\nlines\x1b[2J\xff")
	put(t, dir+"/web", "not in up or down")
	if err := os.Symlink("nowhere", dir+"/up/dangling"); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(dir+"/down/fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	files, err := readAll(dir)
	if err != nil {
		t.Error(err)
	}
	long := files["long"].Reason
	delete(files, "long")
	if len(long) > maxReason || !strings.HasSuffix(long, "…") {
		t.Errorf("a long reason becomes %q", long)
	}
	want := map[string]decide.Override{
		"web":  {Kind: decide.OverrideDown},
		"both": {Kind: decide.OverrideUp, Reason: "up wins"},
		"rude": {Kind: decide.OverrideUp, Reason: "two lines [2J\ufffd"},
		"fifo": {Kind: decide.OverrideDown},
	}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Error(diff)
	}
}

func TestReadWithoutDirectories(t *testing.T) {
	files, err := readAll(filepath.Join(t.TempDir(), "nowhere"))
	if err != nil || len(files) != 0 {
		t.Errorf("got %v, %v; want neither", files, err)
	}
}

func TestReadReturnsWhatItCanRead(t *testing.T) {
	dir := t.TempDir()
	put(t, dir+"/down/web", "reason")
	put(t, dir+"/up", "a file instead of a directory")
	files, err := readAll(dir)
	if err == nil || !strings.Contains(err.Error(), "read up files of clusters") || files["web"].Kind != decide.OverrideDown {
		t.Errorf("got %v, %v; want the down file, and an error about the directory up", files, err)
	}
}
