// Package golden compares test output with golden files; UPDATE=1 in the environment of go test rewrites them.
package golden

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Update reports whether golden files are to be rewritten (UPDATE=1).
func Update() bool { return os.Getenv("UPDATE") == "1" }

// Compare fails the test if got differs from the file by any byte. If Update is true it rewrites the file first.
func Compare(t testing.TB, file, got string) {
	t.Helper()
	if Update() {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got); if the change is intended, rewrite the file with UPDATE=1 in the environment:\n%s", file, diff)
	}
}
