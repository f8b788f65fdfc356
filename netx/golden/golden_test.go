package golden

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// recorder is a test whose errors are kept.
type recorder struct {
	testing.TB
	said string
}

func (r *recorder) Helper()                      {}
func (r *recorder) Errorf(_ string, args ...any) { r.said = args[1].(string) }

func TestCompareTellsADifferenceAndUpdateMendsIt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "wire.txt")
	if err := os.WriteFile(file, []byte("Health: 1\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	compare := func(got string) string {
		r := &recorder{TB: t}
		Compare(r, file, got)
		return r.said
	}
	t.Setenv("UPDATE", "")
	if said := compare("Health: 1\r\n"); said != "" {
		t.Errorf("the same: %s", said)
	}
	if said := compare("Health: 1\n"); !strings.Contains(said, `"Health: 1\r\n"`) {
		t.Errorf("another line end: %q", said)
	}
	t.Setenv("UPDATE", "1")
	compare("Health: 2\n")
	t.Setenv("UPDATE", "")
	if said := compare("Health: 2\n"); said != "" {
		t.Errorf("written anew: %s", said)
	}
}
