package labtest

import (
	"os"
	"strings"
	"testing"
)

// ReadmeBlock returns the fenced block after the comment <!-- name --> in a Markdown file, so that tests can run it or compare it.
func ReadmeBlock(t testing.TB, path, name string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(text), "<!-- "+name+" -->\n```")
	_, block, begun := strings.Cut(after, "\n")
	block, _, ended := strings.Cut(block, "```\n")
	if !found || !begun || !ended {
		t.Fatalf("%s has no fenced block after <!-- %s -->", path, name)
	}
	return block
}
