package force

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/braintree/lb/agent/score"
	"github.com/braintree/lb/netx/recordstore"
)

func at() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, bad, err := Open(dir)
	if err != nil || len(bad) > 0 {
		t.Fatalf("Open(%s): %v, bad files %v", dir, err, bad)
	}
	return s
}

func TestForcesSurviveAReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "by", "open")
	s := open(t, dir)
	want := []Force{
		{Kind: score.Up, Reason: "all up", Who: "kim", At: at()},
		{Service: "global", Kind: score.Down, Reason: "a service of that name", Who: "kim", At: at()},
		{Service: "web/../x", Kind: score.Health, Value: 42, Reason: "cap", Who: "uid 0", At: at(), Expires: at().Add(time.Hour)},
	}
	for _, f := range want {
		if err := s.Put(f); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, open(t, dir).All()); diff != "" {
		t.Errorf("after reopening (-want +got):\n%s", diff)
	}
	for _, f := range want {
		if got, existed, err := s.Delete(f.Service, f.Kind); got != f || !existed || err != nil {
			t.Errorf("Delete(%q, %s) = %v, %v, %v", f.Service, f.Kind, got, existed, err)
		}
		if _, existed, err := s.Delete(f.Service, f.Kind); existed || err != nil {
			t.Errorf("second Delete(%q, %s) = %v, %v; want false, nil", f.Service, f.Kind, existed, err)
		}
	}
	if got := open(t, dir).All(); len(got) != 0 {
		t.Errorf("after deleting all: %v", got)
	}
}

func TestInEffectFollowsPrecedenceAndExpiry(t *testing.T) {
	s := open(t, t.TempDir())
	put := func(f Force) {
		t.Helper()
		if err := s.Put(f); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when string, now time.Time, want string) {
		t.Helper()
		f, ok := s.InEffect("web", now)
		got := "none"
		if ok {
			got = fmt.Sprintf("%q %s", f.Service, f.Kind)
		}
		if got != want {
			t.Errorf("%s: in effect is %s, want %s", when, got, want)
		}
	}
	check("nothing forced", at(), "none")
	put(Force{Service: "other", Kind: score.Down, At: at()})
	check("another service forced", at(), "none")
	put(Force{Service: "web", Kind: score.Health, Value: 10, At: at()})
	check("own health", at(), `"web" health`)
	put(Force{Service: "web", Kind: score.Down, At: at()})
	check("own down beats own health", at(), `"web" down`)
	put(Force{Kind: score.Health, Value: 50, At: at()})
	check("global health beats own down", at(), `"" health`)
	put(Force{Kind: score.Down, At: at(), Expires: at().Add(time.Minute)})
	check("global down beats all", at().Add(time.Minute-1), `"" down`)
	check("an expired one does not count", at().Add(time.Minute), `"" health`)
}

func TestTextsAreCleanedAndLimited(t *testing.T) {
	s := open(t, t.TempDir())
	err := s.Put(Force{Kind: score.Down, Reason: "a\nb\xff\x1b[31m" + strings.Repeat("é", 1000), Who: strings.Repeat("x", 1000), At: at()})
	if err != nil {
		t.Fatal(err)
	}
	f := s.All()[0]
	if len(f.Reason) > recordstore.MaxReason || len(f.Who) > recordstore.MaxWho || !utf8.ValidString(f.Reason) ||
		strings.ContainsAny(f.Reason, "\n\x1b") {
		t.Errorf("stored %q by %q", f.Reason, f.Who)
	}
	if !strings.HasPrefix(f.Reason, "a b\ufffd [31mé") {
		t.Errorf("reason begins %q", f.Reason[:20])
	}
}

func TestInvalidForcesAreRefused(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for _, tc := range []struct {
		name string
		f    Force
	}{
		{"unknown kind", Force{Kind: "sideways"}},
		{"health above 100", Force{Kind: score.Health, Value: 101}},
		{"health below 0", Force{Kind: score.Health, Value: -1}},
		{"name too long", Force{Kind: score.Down, Service: strings.Repeat("a", 201)}},
		{"name not UTF-8", Force{Kind: score.Down, Service: "\xff"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := s.Put(tc.f); !errors.Is(err, ErrInvalid) {
				t.Errorf("Put = %v, want ErrInvalid", err)
			}
		})
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 || len(s.All()) != 0 {
		t.Errorf("something was stored: %v, %v", entries, s.All())
	}
}

func TestBadFilesAreReportedAndTheRestIsRead(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if err := s.Put(Force{Service: "web", Kind: score.Down, Reason: "good", Who: "kim", At: at()}); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{
		"all.down.json":         `{"kind":"down"`,
		"all.up.json":           ``,
		"all.health.json":       `{"kind":"health","value":500,"reason":"","who":"","at":"2026-11-23T12:00:00Z"}`,
		"service.a.down.json":   `{"service":"b","kind":"down","reason":"","who":"","at":"2026-11-23T12:00:00Z"}`,
		"service.c.down.json":   `{"service":"c","kind":"down","reason":"","who":"","at":"2026-11-23T12:00:00Z"} {}`,
		"service.d.down.json":   `{"service":"d","kind":"down","colour":"red"}`,
		"service.big.down.json": `"` + strings.Repeat("x", 16<<10) + `"`,
		"notes.txt":             "not a force",
		".new-12345":            "half a wri",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "service.dir.down.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "service.fifo.down.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, bad, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(bad) != 9 {
		t.Errorf("%d bad files reported, want 9: %v", len(bad), bad)
	}
	for _, b := range bad {
		if !strings.Contains(b.Error(), dir) || !strings.Contains(b.Error(), "lb ctl force") {
			t.Errorf("no path or no fix in: %v", b)
		}
	}
	if got := s.All(); len(got) != 1 || got[0].Reason != "good" {
		t.Errorf("read %v, want the one good force", got)
	}
	if _, err := os.Stat(filepath.Join(dir, ".new-12345")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the half-written file is still there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "notes.txt")); err != nil {
		t.Errorf("the other file: %v", err)
	}
}

func TestAFailedChangeChangesNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if err := s.Put(Force{Service: "web", Kind: score.Down, Reason: "kept", Who: "kim", At: at()}); err != nil {
		t.Fatal(err)
	}
	before := s.All()
	// Root ignores permissions, so the folder is moved away.
	moved := dir + ".moved"
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	err := s.Put(Force{Service: "web", Kind: score.Down, Reason: "new", At: at()})
	if err == nil || !strings.Contains(err.Error(), "nothing has changed") || errors.Is(err, ErrInvalid) {
		t.Errorf("Put = %v, want an error that says that nothing has changed", err)
	}
	if _, _, err := s.Delete("web", score.Down); err == nil || !strings.Contains(err.Error(), "still in effect") {
		t.Errorf("Delete = %v, want an error that says that it is still in effect", err)
	}
	if diff := cmp.Diff(before, s.All()); diff != "" {
		t.Errorf("forces changed (-before +after):\n%s", diff)
	}
	if err := os.Rename(moved, dir); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, open(t, dir).All()); diff != "" {
		t.Errorf("files changed (-before +after):\n%s", diff)
	}
}

// The helper process has a file size limit of 0, which makes every write fail like ENOSPC.
func TestAFullDiskIsReportedAndLeavesNoFiles(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("/bin/sh", "-c", `ulimit -f 0; exec "$0" -test.run='^TestHelperProcess$'`, os.Args[0])
	cmd.Env = append(os.Environ(), "FORCE_TEST_DIR="+dir, "FORCE_TEST_MODE=once")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("helper: %v: %s", err, out)
	}
	if !strings.Contains(string(out), "error: store the force in "+dir) {
		t.Errorf("the helper printed %q, want an error", out)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
}

// The helper is killed in the middle of a series of changes. Every acknowledged force is complete on disk.
func TestForcesSurviveKill9(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestHelperProcess$")
	cmd.Env = append(os.Environ(), "FORCE_TEST_DIR="+dir, "FORCE_TEST_MODE=stream")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	acknowledged := map[string]int{}
	lines := bufio.NewScanner(out)
	for n := 0; n < 60 && lines.Scan(); n++ {
		var service string
		var value int
		if _, err := fmt.Sscanf(lines.Text(), "stored %s %d", &service, &value); err != nil {
			t.Fatalf("the helper printed %q", lines.Text())
		}
		acknowledged[service] = value
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() { // lines between the last one read and the kill
		var service string
		var value int
		if _, err := fmt.Sscanf(lines.Text(), "stored %s %d", &service, &value); err == nil {
			acknowledged[service] = value
		}
	}
	if err := cmd.Wait(); err == nil || len(acknowledged) == 0 {
		t.Fatalf("helper ended with %v after acknowledging %v; it should have been killed while running", err, acknowledged)
	}
	found := map[string]int{}
	for _, f := range open(t, dir).All() {
		found[f.Service] = f.Value
	}
	for service, value := range acknowledged {
		// The change in progress may have happened. It can only be the next value.
		if got, ok := found[service]; !ok || got != value && got != (value+1)%101 {
			t.Errorf("%s: acknowledged health %d, found %d (present: %v)", service, value, got, ok)
		}
	}
}

// TestHelperProcess is not a test. The tests above run it as a separate process.
func TestHelperProcess(t *testing.T) {
	dir := os.Getenv("FORCE_TEST_DIR")
	if dir == "" {
		return
	}
	s, _, err := Open(dir)
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	for n := 0; ; n++ {
		service := fmt.Sprintf("s%d", n%3)
		if err := s.Put(Force{Service: service, Kind: score.Health, Value: n / 3 % 101, Reason: "stream", At: at()}); err != nil {
			fmt.Println("error:", err)
			return
		}
		fmt.Println("stored", service, n/3%101)
		if os.Getenv("FORCE_TEST_MODE") == "once" {
			return
		}
	}
}

func FuzzParseForce(f *testing.F) {
	f.Add([]byte(`{"service":"web","kind":"health","value":42,"reason":"cap","who":"kim",` +
		`"at":"2026-11-23T12:00:00Z","expires":"2026-11-23T13:00:00Z"}`))
	f.Add([]byte(`{"kind":"down"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := storedForces().Unmarshal(data)
		if err != nil {
			return
		}
		out, err := storedForces().Marshal(got)
		if err != nil {
			t.Fatalf("cannot format the force read from %q: %v", data, err)
		}
		again, err := storedForces().Unmarshal(out)
		if err != nil || !cmp.Equal(got, again) {
			t.Fatalf("%q reads as %+v, then as %+v, %v", data, got, again, err)
		}
		if name := fileName(got); strings.ContainsAny(name, "/\x00") || len(name) > 255 && len(got.Service) < 60 {
			t.Fatalf("file name %q", name)
		}
	})
}
