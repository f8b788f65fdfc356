package force

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/braintree/lb/agent/score"
)

func TestForcesExpire(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	hour := Force{Service: "web", Kind: score.Down, Reason: "an hour", Who: "kim", At: at(), Expires: at().Add(time.Hour)}
	day := Force{Service: "web", Kind: score.Health, Value: 7, Reason: "a day", Who: "kim", At: at(), Expires: at().Add(24 * time.Hour)}
	ever := Force{Kind: score.Up, Reason: "no end", Who: "kim", At: at()}
	for _, f := range []Force{hour, day, ever} {
		if err := s.Put(f); err != nil {
			t.Fatal(err)
		}
	}
	expire := func(now time.Time, want ...Force) {
		t.Helper()
		got, err := s.Expire(now)
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("expired at %s (-want +got):\n%s", now, diff)
		}
	}
	expire(at().Add(time.Hour - 1))
	expire(at().Add(time.Hour), hour)
	expire(at().Add(time.Hour))
	if diff := cmp.Diff([]Force{ever, day}, s.All()); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	// The clock is set back: expired forces stay expired, in memory and on disk.
	if f, ok := s.InEffect("web", at()); !ok || f != ever {
		t.Errorf("in effect is %v", f)
	}
	// After a restart, a force that expired meanwhile ends at the first Expire.
	s = open(t, dir)
	if diff := cmp.Diff([]Force{ever, day}, s.All()); diff != "" {
		t.Errorf("after a restart (-want +got):\n%s", diff)
	}
	expire(at().Add(48*time.Hour), day)
	if diff := cmp.Diff([]Force{ever}, open(t, dir).All()); diff != "" {
		t.Errorf("files left (-want +got):\n%s", diff)
	}
}

func TestAForceExpiresEvenIfItsFileCannotBeRemoved(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	f := Force{Service: "web", Kind: score.Down, At: at(), Expires: at().Add(time.Hour)}
	if err := s.Put(f); err != nil {
		t.Fatal(err)
	}
	// Root ignores permissions, so a non-empty folder takes the place of the file.
	if err := errors.Join(os.Remove(dir+"/"+fileName(f)+".json"), os.MkdirAll(dir+"/"+fileName(f)+".json"+"/x", 0o700)); err != nil {
		t.Fatal(err)
	}
	ended, err := s.Expire(at().Add(time.Hour))
	if len(ended) != 1 || err == nil || !strings.Contains(err.Error(), "delete the file") {
		t.Errorf("Expire = %v, %v", ended, err)
	}
	if _, ok := s.InEffect("web", at()); ok || len(s.All()) != 0 {
		t.Error("it is still in effect")
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"2h": 2 * time.Hour, "1h30m": 90 * time.Minute, "1s": time.Second, "3d": 72 * time.Hour, "366d": 366 * 24 * time.Hour,
		"1.5h": 90 * time.Minute,
		"":     0, "2": 0, "0s": 0, "-1h": 0, "999ms": 0, "367d": 0, "1d2h": 0, "d": 0, "-1d": 0, "1.5d": 0, "99999999999999999999d": 0,
		"forever": 0, "9000000h": 0, "99999999999h": 0,
	} {
		got, err := ParseDuration(text)
		if got != want || (err == nil) != (want > 0) || err != nil && (!errors.Is(err, ErrInvalid) ||
			!strings.Contains(err.Error(), "such as 90m")) {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
}
