package recordstore

import (
	"cmp"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// record is a sample record.
type record struct {
	Name string `json:"name"`
	N    int    `json:"n"`
}

var errNegative = errors.New("n is negative")

func testKind() Kind[string, record] {
	return Kind[string, record]{
		Name: "record", ConfigKey: "test.data_dir", Fix: "set it again",
		Key:      func(o record) string { return o.Name },
		FileName: func(o record) string { return "record." + o.Name },
		Validate: func(o record) (record, error) {
			if o.N < 0 {
				return o, errNegative
			}
			o.Name = strings.ToLower(o.Name)
			return o, nil
		},
	}
}

func open(t *testing.T, dir string) *Store[string, record] {
	t.Helper()
	s, bad, err := Open(dir, testKind())
	if err != nil || len(bad) > 0 {
		t.Fatalf("Open: %v, unusable files %v", err, bad)
	}
	return s
}

// byName returns the store's records by name.
func byName(s *Store[string, record]) map[string]record {
	m := map[string]record{}
	for _, o := range s.All() {
		m[o.Name] = o
	}
	return m
}

func TestRecordsSurviveAReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "by", "open")
	s := open(t, dir)
	for _, o := range []record{{"A", 1}, {"b", 2}, {"a", 3}} {
		if err := s.Put(o); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Put(record{"c", -1}); !errors.Is(err, errNegative) {
		t.Errorf("Put of an invalid record = %v", err)
	}
	want := map[string]record{"a": {"a", 3}, "b": {"b", 2}}
	for name, s := range map[string]*Store[string, record]{"before": s, "after": open(t, dir)} {
		if diff := gocmp.Diff(want, byName(s)); diff != "" {
			t.Errorf("%s a reopen (-want +got):\n%s", name, diff)
		}
	}
	if o, existed, err := s.Delete("a"); o.N != 3 || !existed || err != nil {
		t.Errorf("Delete = %v, %t, %v", o, existed, err)
	}
	if _, existed, err := s.Delete("a"); existed || err != nil {
		t.Errorf("second Delete = %t, %v", existed, err)
	}
	ended, err := s.Expire(func(o record) bool { return o.N == 2 })
	if err != nil || !slices.Equal(ended, []record{{"b", 2}}) {
		t.Errorf("Expire = %v, %v", ended, err)
	}
	if left := byName(open(t, dir)); len(left) != 0 {
		t.Errorf("left on disk: %v", slices.Sorted(maps.Keys(left)))
	}
}

func TestViewIsConsistent(t *testing.T) {
	s := open(t, t.TempDir())
	s.View(func(func(string) (record, bool)) { t.Error("View of an empty store called f") })
	if err := s.Put(record{"a", 1}); err != nil {
		t.Fatal(err)
	}
	s.View(func(get func(string) (record, bool)) {
		a, ok := get("a")
		_, other := get("b")
		if !ok || a.N != 1 || other {
			t.Errorf("a is %v, %t; b exists: %t", a, ok, other)
		}
	})
}

func TestErrorsNameTheFix(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(dir, testKind()); err == nil || !strings.Contains(err.Error(), "set test.data_dir to another") {
		t.Errorf("Open = %v", err)
	}
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "record.x.json"), []byte(`{"name":"x","n":1,"colour":"red"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, bad, err := Open(dir, testKind())
	if err != nil || len(bad) != 1 || !strings.Contains(bad[0].Error(), "set it again, or delete the file") {
		t.Errorf("Open = %v, %v", bad, err)
	}
}

func TestRecordsAreReturnedInOrder(t *testing.T) {
	kind, dir := testKind(), t.TempDir()
	kind.Compare = func(a, b record) int { return cmp.Compare(b.N, a.N) }
	s, _, err := Open(dir, kind)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 20 {
		if err := s.Put(record{Name: "r" + strconv.Itoa(n), N: n}); err != nil {
			t.Fatal(err)
		}
	}
	read, bad, readErr := Read(dir, kind)
	all := s.All()
	expired, err := s.Expire(func(record) bool { return true })
	if err := errors.Join(append(bad, readErr, err)...); err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string][]record{"Read": read, "All": all, "Expire": expired} {
		if len(got) != 20 || !slices.IsSortedFunc(got, kind.Compare) {
			t.Errorf("%s returns %v", name, got)
		}
	}
}
