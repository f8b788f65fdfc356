package check

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFileContents(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for name, data := range map[string]string{
		"ok": "state: OK\n", "empty": "", "late": strings.Repeat("x", maxFile) + "OK",
		"just": strings.Repeat("x", maxFile-2) + "OK", "binary": "\x00\xff\x1b[31mOK",
	} {
		if err := os.WriteFile(at(name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(at("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("ok", at("link")); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, path, pattern string
		ok                  bool
		reason              string
	}{
		{"$ is the end of the text, not of a line", at("ok"), "OK$", false, "the 10 bytes do not match"},
		{"$ with (?m) is the end of a line", at("ok"), "(?m)OK$", true, "matches"},
		{"anywhere in the file", at("ok"), "OK", true, "matches"},
		{"through a link", at("link"), "^state", true, ""},
		{"does not match", at("ok"), "^OK", false, "do not match"},
		{"an empty file", at("empty"), "OK", false, "the 0 bytes"},
		{"an empty file with an empty pattern", at("empty"), "^$", true, ""},
		{"after the first MiB", at("late"), "OK", false, "the first 1048576 bytes do not match"},
		{"at the end of the first MiB", at("just"), "OK$", true, ""},
		{"binary data", at("binary"), "^OK", false, "do not match"},
		{"no file", at("none"), "OK", false, "no such file"},
		{"a folder", dir, "OK", false, "is not a regular file"},
		{"a pipe without a writer", at("pipe"), "OK", false, "is not a regular file"},
		{"a file in procfs", "/proc/self/stat", `^\d+ `, true, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want(t, run(t, dependency("file_contents", map[string]any{"path": tc.path, "pattern": tc.pattern}), Host{}), tc.ok, tc.reason)
		})
	}
}

func FuzzInspectPattern(f *testing.F) {
	f.Add("OK")
	f.Add(`a/b\/c\\/`)
	f.Fuzz(func(t *testing.T, pattern string) {
		shown := inspectPattern(pattern)
		if !strings.HasPrefix(shown, "/") || strings.ContainsAny(shown, "\n\r\x1b") {
			t.Errorf("inspectPattern(%q) = %q", pattern, shown)
		}
	})
}
