package action

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/ctl/usage"
)

func TestParseForce(t *testing.T) {
	tests := map[string]struct {
		args string
		del  bool
		want Force
	}{
		"down, all":            {"down", false, Force{Kind: "down"}},
		"down, one":            {"down webapp", false, Force{Kind: "down", Service: "webapp"}},
		"up, one, deleted":     {"up webapp", true, Force{Kind: "up", Service: "webapp", Delete: true}},
		"health, all":          {"health 42", false, Force{Kind: "health", Health: 42}},
		"health, one":          {"health 0 webapp", false, Force{Kind: "health", Service: "webapp"}},
		"health, all, deleted": {"health", true, Force{Kind: "health", Delete: true}},
		"health, one, deleted": {"health webapp", true, Force{Kind: "health", Service: "webapp", Delete: true}},
		"health, one, deleted with number": {"health 42 webapp", true, Force{Kind: "health", Health: 42, Service: "webapp",
			Delete: true}},
		"health, all, deleted with a number": {"health 42", true, Force{Kind: "health", Health: 42, Delete: true}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ParseForce(strings.Fields(tt.args), tt.del)
			if err != nil || got != tt.want {
				t.Errorf("got %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
}

func TestParseForceRejects(t *testing.T) {
	tests := map[string]struct {
		args string
		del  bool
		want string
	}{
		"nothing": {"", false, "missing state: usage: lb ctl force down|up|health N [SERVICE] [-r REASON] [--for TIME] [-d]"},
		"unknown state": {"sideways webapp", false,
			`cannot force "sideways": usage: lb ctl force down|up|health N [SERVICE] [-r REASON] [--for TIME] [-d]`},
		"number missing": {"health webapp", false,
			`health needs a number from 0 to 100 before the service, not "webapp": lb ctl force health N [SERVICE]`},
		"number after the service": {"health webapp 42", false,
			`health needs a number from 0 to 100 before the service, not "webapp": lb ctl force health N [SERVICE]`},
		"number missing, all": {"health", false, "health needs a number from 0 to 100: lb ctl force health N [SERVICE]"},
		"number too high":     {"health 101 webapp", false, "health 101 is out of range: use 0 to 100"},
		"negative number":     {"health -5 webapp", false, "health -5 is out of range: use 0 to 100"},
		"fraction": {"health 0.5 webapp", false,
			`health needs a number from 0 to 100 before the service, not "0.5": lb ctl force health N [SERVICE]`},
		"reason without quotes": {"down webapp upgrades", false,
			`unexpected argument "upgrades": quote a reason of several words, as in -r "apt upgrades"`},
		"invalid name of a service": {"down ../down", false,
			`"../down" cannot be the name of a service: names consist of letters, digits and any of _ : . -`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := ParseForce(strings.Fields(tt.args), tt.del)
			wantError(t, err, tt.want)
			var usageErr *usage.Error
			if !errors.As(err, &usageErr) && !errors.As(err, new(*client.NameError)) {
				t.Errorf("%T is not a usage error", err)
			}
		})
	}
}

func TestForceSendsARequest(t *testing.T) {
	d := &fakeDaemon{responses: map[string]response{
		"POST /webapp/down":     {201, "File created", ""},
		"POST /down":            {201, "File created", ""},
		"POST /webapp/health":   {201, "File created", ""},
		"POST /timed/up":        {201, "File created\nIt ends by itself at 2026-11-23T14:00:00Z.\n", ""},
		"DELETE /webapp/health": {200, "File deleted", ""},
		"DELETE /up":            {200, "File deleted", ""},
		"POST /down/down":       {400, "a reason is needed", ""},
	}}
	c := d.client(t, client.Agent())
	tests := map[string]struct {
		force   Force
		request string
		out     string
		err     string
	}{
		"down": {
			Force{Kind: "down", Service: "webapp", Reason: " apt\nupgrades\x1b[31m & more ", Who: "ann"},
			"POST /webapp/down reason=apt+upgrades+%5B31m+%26+more&who=ann", "File created\n", "",
		},
		"all down": {Force{Kind: "down", Reason: "x", Who: "ann"}, "POST /down reason=x&who=ann", "File created\n", ""},
		"health": {
			Force{Kind: "health", Health: 42, Service: "webapp", Reason: "x", Who: "ann"},
			"POST /webapp/health health=42&reason=x&who=ann", "File created\n", "",
		},
		"health deleted": {
			Force{Kind: "health", Health: 42, Service: "webapp", Delete: true, Who: "ann"},
			"DELETE /webapp/health who=ann", "File deleted\n", "",
		},
		"all up deleted": {Force{Kind: "up", Delete: true, Who: "ann"}, "DELETE /up who=ann", "File deleted\n", ""},
		"for a time": {
			Force{Kind: "up", Service: "timed", Reason: "x", Who: "ann", For: "2h"},
			"POST /timed/up for=2h&reason=x&who=ann", "File created\nIt ends by itself at 2026-11-23T14:00:00Z.\n", "",
		},
		"for a time, unsupported": {
			Force{Kind: "down", Reason: "x", Who: "ann", For: "2h"},
			"POST /down for=2h&reason=x&who=ann", "File created\n",
			"this agent does not support --for: the force is in place and lasts until it is deleted",
		},
		"deleted with a reason": {Force{Kind: "up", Delete: true, Who: "ann", Reason: "done"}, "DELETE /up reason=done&who=ann",
			"File deleted\n", ""},
		"not forced": {
			Force{Kind: "down", Service: "webapp", Delete: true},
			"DELETE /webapp/down who=", "NOT FOUND\n", "nothing to delete: webapp is not forced down: `lb ctl list` shows what is forced",
		},
		"not forced, all": {
			Force{Kind: "health", Delete: true},
			"DELETE /health who=", "NOT FOUND\n",
			"nothing to delete: this agent as a whole is not forced to a health: `lb ctl list` shows what is forced",
		},
		"unknown service": {
			Force{Kind: "down", Service: "nope", Reason: "x"},
			"POST /nope/down reason=x&who=", "NOT FOUND\n", "this agent has no service \"nope\": `lb ctl list` shows its services",
		},
		"refused": {Force{Kind: "down", Service: "down", Reason: "x"}, "POST /down/down reason=x&who=", "",
			"lb agent refused: a reason is needed"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d.requests = nil
			var out bytes.Buffer
			wantError(t, tt.force.Run(t.Context(), Streams{Out: &out}, c), tt.err)
			if !slices.Equal(d.requests, []string{tt.request}) {
				t.Errorf("sent %q, want %q", d.requests, tt.request)
			}
			if out.String() != tt.out {
				t.Errorf("printed %q, want %q", out.String(), tt.out)
			}
		})
	}
}

func TestAForceThatAnotherOneOverrulesIsNotClaimed(t *testing.T) {
	d := &fakeDaemon{responses: map[string]response{
		"POST /webapp/down":  {201, "File created", ""},
		"GET /webapp/status": {200, "", `{"name":"webapp","health":100,"forced":{"kind":"up","all":true,"who":"kim","reason":"a test"}}`},
		"POST /db/down":      {201, "File created", ""},
		"GET /db/status":     {503, "", `{"name":"db","health":0,"forced":{"kind":"down","all":true,"who":"kim","reason":"a test"}}`},
		"POST /old/down":     {201, "File created", ""},
		"POST /health":       {201, "File created", ""},
		"GET /":              {200, "", `{"services":[{"name":"db","health":0,"forced":{"kind":"down","all":true,"who":"kim"}}]}`},
	}}
	c := d.client(t, client.Agent())
	for _, tt := range []struct {
		name  string
		force Force
		err   string
	}{
		{"overruled", Force{Kind: "down", Service: "webapp"}, "the force is stored, but webapp stays at health 100: " +
			"the force up takes precedence (by kim: a test): `lb ctl force up -d` ends it"},
		{"the same effect", Force{Kind: "down", Service: "db"}, ""},
		{"an agent that cannot say", Force{Kind: "down", Service: "old"}, ""},
		{"all", Force{Kind: "health", Health: 50}, "the force is stored, but db stays at health 0: " +
			"the force down takes precedence (by kim): `lb ctl force down -d` ends it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			tt.force.Confirm = true
			wantError(t, tt.force.Run(t.Context(), Streams{Out: &out}, c), tt.err)
			if out.String() != "File created\n" {
				t.Errorf("printed %q", &out)
			}
		})
	}
}
