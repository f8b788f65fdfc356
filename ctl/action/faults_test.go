package action

import (
	"bytes"
	"slices"
	"testing"

	"github.com/braintree/lb/balancer/client"
)

// In litmus_paper, `litmusctl force health webapp` takes the service for the number and forces every service to 0, and `litmusctl force
// health 42 webapp -d` takes the number for the service and finds nothing.
func TestFault14ANumberIsNeverTakenForAServiceNorAServiceForIt(t *testing.T) {
	for _, args := range [][]string{{"health", "webapp"}, {"health"}, {"health", "webapp", "42"}} {
		if f, err := ParseForce(args, false); err == nil {
			t.Errorf("force %q is parsed as %+v", args, f)
		}
	}
	d := &fakeDaemon{responses: map[string]response{"DELETE /webapp/health": {200, "File deleted", ""}}}
	f, err := ParseForce([]string{"health", "42", "webapp"}, true)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := f.Run(t.Context(), Streams{Out: &out}, d.client(t, client.Agent())); err != nil || out.String() != "File deleted\n" {
		t.Errorf("printed %q, %v", out.String(), err)
	}
	if !slices.Equal(d.requests, []string{"DELETE /webapp/health who="}) {
		t.Errorf("sent %q", d.requests)
	}
}
