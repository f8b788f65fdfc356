// Package golden holds what tests get against files that show what is wanted. UPDATE=1 go test ./… writes them anew.
package golden

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Update tells whether the files are to be written anew: the environment has UPDATE=1.
func Update() bool { return os.Getenv("UPDATE") == "1" }

// Compare fails the test where got is not, to the byte, what the file holds; it writes the file first where Update tells so.
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
		t.Errorf("%s (-want +got); if the change is meant, write it anew with UPDATE=1 in the environment:\n%s", file, diff)
	}
}
