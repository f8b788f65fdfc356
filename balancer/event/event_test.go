package event

import (
	"encoding/json"
	"os"
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
	if data, err := json.Marshal(Event{Kind: NodeKind("up")}); err != nil || !strings.Contains(string(data), `"node_up"`) {
		t.Errorf("%s, %v", data, err)
	}
}
