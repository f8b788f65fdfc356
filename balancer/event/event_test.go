package event

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestKindsAreComplete compares Kinds with the constants in the source.
func TestKindsAreComplete(t *testing.T) {
	source, err := os.ReadFile("event.go")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[Kind]bool{}
	for _, k := range Kinds() {
		if seen[k] || !strings.Contains(string(source), `Kind = "`+string(k)+`"`) {
			t.Errorf("%s is listed twice, or no constant", k)
		}
		seen[k] = true
	}
	if n := strings.Count(string(source), ` Kind = "`); n != len(seen) {
		t.Errorf("%d constants, %d kinds listed", n, len(seen))
	}
	manual, err := os.ReadFile("../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []Kind // in the first column of the table, several in a row
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]*`) \\|").FindAllStringSubmatch(string(manual), -1) {
		for _, kind := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(row[1], -1) {
			documented = append(documented, Kind(kind[1]))
		}
	}
	if !slices.Equal(documented, Kinds()) {
		t.Errorf("docs/events.md has %v\nwant %v, in this order", documented, Kinds())
	}
	if data, err := json.Marshal(Event{Kind: NodeKind("up")}); err != nil || !strings.Contains(string(data), `"node_up"`) {
		t.Errorf("%s, %v", data, err)
	}
}
