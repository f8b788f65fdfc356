package drain

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func node(s string) netip.Addr { return netip.MustParseAddr(s) }

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, bad, err := Open(dir)
	if err != nil || len(bad) > 0 {
		t.Fatalf("Open: %v, bad files %v", err, bad)
	}
	return s
}

func put(t *testing.T, s *Store, drains ...Drain) {
	t.Helper()
	for _, d := range drains {
		if err := s.Put(d); err != nil {
			t.Fatal(err)
		}
	}
}

// names returns the drains as CLUSTER/NODE.
func names(all []Drain) []string {
	var names []string
	for _, d := range all {
		names = append(names, d.Cluster+"/"+d.Node.String())
	}
	return names
}

func TestDrainsSurviveAReopen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, now := t.TempDir(), time.Now()
		s := open(t, dir)
		put(t, s,
			Drain{Cluster: "web", Node: node("10.0.0.2"), Reason: "new\ndisks", Who: "kim", At: now, Expires: now.Add(time.Hour)},
			Drain{Cluster: "web", Node: node("10.0.0.1"), Reason: "for good", Who: "ann", At: now},
			Drain{Cluster: "../x", Node: node("fd00::1"), Who: "kim", At: now})
		time.Sleep(20 * time.Minute)
		s = open(t, dir)
		if diff := cmp.Diff([]string{"../x/fd00::1", "web/10.0.0.1", "web/10.0.0.2"}, names(s.All())); diff != "" {
			t.Errorf("after a reopen (-want +got):\n%s", diff)
		}
		d, ok := s.Get(Key{"web", node("10.0.0.2")}, time.Now())
		if !ok || d.Describe() != "by kim: new disks, until "+now.Add(time.Hour).UTC().Format(time.RFC3339) {
			t.Errorf("%t, %q", ok, d.Describe())
		}
		time.Sleep(40*time.Minute - 1)
		if ended, err := s.Expire(time.Now()); len(ended) != 0 || err != nil {
			t.Errorf("expired too early: %v, %v", ended, err)
		}
		time.Sleep(time.Nanosecond)
		if _, ok := s.Get(d.Key(), time.Now()); ok {
			t.Error("an expired drain counts")
		}
		if ended, err := s.Expire(time.Now()); len(ended) != 1 || ended[0].Node != d.Node || err != nil {
			t.Errorf("Expire = %v, %v", ended, err)
		}
		read, err := Read(dir)
		if diff := cmp.Diff([]string{"../x/fd00::1", "web/10.0.0.1"}, names(read)); diff != "" || err != nil {
			t.Errorf("on disk: %v (-want +got):\n%s", err, diff)
		}
	})
}

// The wall clock may be set between two runs of lb.
func TestSettingTheClockDoesNotExtendADrain(t *testing.T) {
	for _, tt := range []struct {
		name string
		at   time.Duration // when it was ordered, from now
		left time.Duration // of its hour
	}{
		{"not set", -20 * time.Minute, 40 * time.Minute},
		{"set back by a year", 365 * 24 * time.Hour, time.Hour},
		{"set forward by a year", -365 * 24 * time.Hour, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir, now := t.TempDir(), time.Now()
				at := now.Add(tt.at).Round(0)
				put(t, open(t, dir), Drain{Cluster: "web", Node: node("10.0.0.1"), At: at, Expires: at.Add(time.Hour)})
				if got := open(t, dir).All()[0].Expires.Sub(now); got != tt.left {
					t.Errorf("%s are left, want %s", got, tt.left)
				}
			})
		})
	}
}

func TestDrainsFollowARenamedCluster(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, Drain{Cluster: "web", Node: node("10.0.0.1")}, Drain{Cluster: "web", Node: node("10.0.0.2")},
		Drain{Cluster: "db", Node: node("10.0.0.1")})
	if err := s.Rename(map[string]string{"web": "shop"}); err != nil {
		t.Fatal(err)
	}
	want := []string{"db/10.0.0.1", "shop/10.0.0.1", "shop/10.0.0.2"}
	if diff := cmp.Diff(want, names(open(t, dir).All())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// The second file cannot be written because there is a directory of that name. The first is rolled back.
	if err := os.MkdirAll(filepath.Join(dir, "drain.x.10.0.0.2.json", "y"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.Rename(map[string]string{"shop": "x"}); err == nil || !strings.Contains(err.Error(), "nothing has changed") {
		t.Errorf("Rename = %v", err)
	}
	if diff := cmp.Diff(want, names(s.All())); diff != "" {
		t.Errorf("after a failed rename (-want +got):\n%s", diff)
	}
}

func TestInvalidDrainsAreRefused(t *testing.T) {
	s := open(t, t.TempDir())
	for name, d := range map[string]Drain{
		"no cluster":        {Node: node("10.0.0.1")},
		"name too long":     {Cluster: strings.Repeat("a", 151), Node: node("10.0.0.1")},
		"no node":           {Cluster: "web"},
		"address with zone": {Cluster: "web", Node: node("fe80::1%eth0")},
		"IPv4-mapped IPv6":  {Cluster: "web", Node: node("::ffff:10.0.0.1")},
	} {
		if err := s.Put(d); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: Put = %v, want ErrInvalid", name, err)
		}
	}
}

func FuzzParseDrain(f *testing.F) {
	f.Add([]byte(`{"cluster":"web","node":"10.0.0.1","reason":"disks","who":"kim",` +
		`"at":"2026-11-23T12:00:00Z","expires":"2026-11-23T13:00:00Z"}`))
	f.Add([]byte(`{"cluster":"w/e","node":"fd00::1"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := recordFormat().Unmarshal(data)
		if err != nil {
			return
		}
		out, err := recordFormat().Marshal(got)
		if err != nil {
			t.Fatalf("cannot format what was parsed from %q: %v", data, err)
		}
		again, err := recordFormat().Unmarshal(out)
		if err != nil || again.Key() != got.Key() || again.Describe() != got.Describe() {
			t.Fatalf("%q parses as %+v, then as %+v, %v", data, got, again, err)
		}
		if name := recordFormat().FileName(got); strings.ContainsAny(name, "/\x00") {
			t.Fatalf("file name %q", name)
		}
	})
}
