package action

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/config"
)

func TestPlanPrints(t *testing.T) {
	change := api.PlanChange{Kind: "weight", Change: "mark 7: node 10.0.0.2 weight 92 → 0", Mark: 7}
	affected := api.Affected{Cluster: "web", Mark: 7, Node: "10.0.0.2", ActiveConns: 12, InactiveConns: 3, Fate: api.Continue}
	const lines = "mark 7: node 10.0.0.2 weight 92 → 0\nconnections: web, mark 7, node 10.0.0.2: 12 active, 3 inactive; they continue\n"
	for _, tt := range []struct {
		name     string
		response api.Plan
		format   Format
		want     string
		refused  bool
	}{
		{"nothing", api.Plan{}, Format{}, "nothing to change\n", false},
		{"a change", api.Plan{Changes: []api.PlanChange{change}, Connections: []api.Affected{affected}}, Format{}, lines, false},
		{"refused, forcible", api.Plan{Refused: "too much", Forcible: true, Changes: []api.PlanChange{change}}, Format{},
			"a reload would be refused: too much\nwith --force it would do:\nmark 7: node 10.0.0.2 weight 92 → 0\n", true},
		{"refused", api.Plan{Refused: "no certificate"}, Format{}, "a reload would be refused: no certificate\n", true},
		{"JSON", api.Plan{Refused: "no certificate"}, Format{JSON: true},
			"{\n  \"refused\": \"no certificate\",\n  \"forcible\": false,\n" +
				"  \"changes\": null,\n  \"connections\": null,\n  \"notes\": null\n}\n", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := serve(t, func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(tt.response) })
			var out strings.Builder
			err := Plan(t.Context(), &out, c, client.Request{Path: "/plan"}, tt.format)
			if out.String() != tt.want {
				t.Errorf("printed %q, want %q", out.String(), tt.want)
			}
			if refused := (*client.RefusedError)(nil); errors.As(err, &refused) != tt.refused || !tt.refused && err != nil {
				t.Errorf("error %v, want refused: %t", err, tt.refused)
			}
		})
	}
}

// TestPlanRequestSendsAllFiles checks that the request has every included file, by absolute path.
func TestPlanRequestSendsAllFiles(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for name, text := range map[string]string{
		"lb.toml": "include = [\"b.toml\", \"a.toml\"]\n", "a.toml": "[balancer]\ncontrol = \"/run/a.sock\"\n", "b.toml": "# nothing\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	q, err := PlanRequest("lb.toml", nil)
	if err != nil {
		t.Fatal(err)
	}
	var c api.Candidate
	if err := json.Unmarshal(q.Body, &c); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"lb.toml", "b.toml", "a.toml"} {
		if len(c.Files) != 3 || c.Files[i].Name != filepath.Join(dir, name) {
			t.Fatalf("files %+v", c.Files)
		}
	}
	cfg, err := config.LoadFiles(c.Files, nil)
	if err != nil || cfg.Balancer.Control != "/run/a.sock" {
		t.Errorf("the files give %+v, %v", cfg, err)
	}
}
