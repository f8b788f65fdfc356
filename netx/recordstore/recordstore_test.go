package recordstore

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// order is a record such as the daemons keep.
type order struct {
	Name string `json:"name"`
	N    int    `json:"n"`
}

var errNegative = errors.New("n is negative")

func orders() Kind[string, order] {
	return Kind[string, order]{
		Name: "order", ConfigKey: "test.data_dir", Fix: "give it again",
		Key:      func(o order) string { return o.Name },
		FileName: func(o order) string { return "order." + o.Name },
		Validate: func(o order) (order, error) {
			if o.N < 0 {
				return o, errNegative
			}
			o.Name = strings.ToLower(o.Name)
			return o, nil
		},
	}
}

func open(t *testing.T, dir string) *Store[string, order] {
	t.Helper()
	s, bad, err := Open(dir, orders())
	if err != nil || len(bad) > 0 {
		t.Fatalf("Open: %v, bad files %v", err, bad)
	}
	return s
}

// all is what the store has, by key.
func all(s *Store[string, order]) map[string]order {
	m := map[string]order{}
	for _, o := range s.All() {
		m[o.Name] = o
	}
	return m
}

func TestWhatIsKeptIsThereAfterAReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "by", "open")
	s := open(t, dir)
	for _, o := range []order{{"A", 1}, {"b", 2}, {"a", 3}} {
		if err := s.Put(o); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Put(order{"c", -1}); !errors.Is(err, errNegative) {
		t.Errorf("Put of what cannot be = %v", err)
	}
	want := map[string]order{"a": {"a", 3}, "b": {"b", 2}}
	for name, s := range map[string]*Store[string, order]{"before": s, "after": open(t, dir)} {
		if diff := cmp.Diff(want, all(s)); diff != "" {
			t.Errorf("%s a reopen (-want +got):\n%s", name, diff)
		}
	}
	if o, existed, err := s.Delete("a"); o.N != 3 || !existed || err != nil {
		t.Errorf("Delete = %v, %t, %v", o, existed, err)
	}
	if _, existed, err := s.Delete("a"); existed || err != nil {
		t.Errorf("second Delete = %t, %v", existed, err)
	}
	ended, err := s.Expire(func(o order) bool { return o.N == 2 })
	if err != nil || !slices.Equal(ended, []order{{"b", 2}}) {
		t.Errorf("Expire = %v, %v", ended, err)
	}
	if left := all(open(t, dir)); len(left) != 0 {
		t.Errorf("left on the disk: %v", slices.Sorted(maps.Keys(left)))
	}
}

func TestLookSeesOneMoment(t *testing.T) {
	s := open(t, t.TempDir())
	s.View(func(func(string) (order, bool)) { t.Error("there is nothing to look at") })
	if err := s.Put(order{"a", 1}); err != nil {
		t.Fatal(err)
	}
	s.View(func(get func(string) (order, bool)) {
		a, ok := get("a")
		_, other := get("b")
		if !ok || a.N != 1 || other {
			t.Errorf("a is %v, %t; b is there: %t", a, ok, other)
		}
	})
}

func TestAnErrorSaysWhatToDo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(dir, orders()); err == nil || !strings.Contains(err.Error(), "set test.data_dir to another") {
		t.Errorf("Open = %v", err)
	}
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "order.x.json"), []byte(`{"name":"x","n":1,"colour":"red"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, bad, err := Open(dir, orders()); err != nil || len(bad) != 1 || !strings.Contains(bad[0].Error(), "give it again, or delete the file") {
		t.Errorf("Open = %v, %v", bad, err)
	}
}
