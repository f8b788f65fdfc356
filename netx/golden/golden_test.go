package golden

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// recorder is a test that records its last error instead of failing.
type recorder struct {
	testing.TB
	message string
}

func (r *recorder) Helper()                      {}
func (r *recorder) Errorf(_ string, args ...any) { r.message = args[1].(string) }

func TestCompareReportsADifferenceAndUpdateRewritesTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "wire.txt")
	if err := os.WriteFile(file, []byte("Health: 1\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	compare := func(got string) string {
		r := &recorder{TB: t}
		Compare(r, file, got)
		return r.message
	}
	t.Setenv("UPDATE", "")
	if message := compare("Health: 1\r\n"); message != "" {
		t.Errorf("identical content: %s", message)
	}
	if message := compare("Health: 1\n"); !strings.Contains(message, `"Health: 1\r\n"`) {
		t.Errorf("different line ending: %q", message)
	}
	t.Setenv("UPDATE", "1")
	compare("Health: 2\n")
	t.Setenv("UPDATE", "")
	if message := compare("Health: 2\n"); message != "" {
		t.Errorf("after the update: %s", message)
	}
}
