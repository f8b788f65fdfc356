package ctl

import (
	"bytes"
	"errors"
	"os/user"
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
		"down, all":                          {"down", false, Force{Kind: "down"}},
		"down, one":                          {"down webapp", false, Force{Kind: "down", Service: "webapp"}},
		"up, one, deleted":                   {"up webapp", true, Force{Kind: "up", Service: "webapp", Delete: true}},
		"health, all":                        {"health 42", false, Force{Kind: "health", Health: 42}},
		"health, one":                        {"health 0 webapp", false, Force{Kind: "health", Service: "webapp"}},
		"health, all, deleted":               {"health", true, Force{Kind: "health", Delete: true}},
		"health, one, deleted":               {"health webapp", true, Force{Kind: "health", Service: "webapp", Delete: true}},
		"health, one, deleted with number":   {"health 42 webapp", true, Force{Kind: "health", Health: 42, Service: "webapp", Delete: true}},
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

func TestParseForceRefuses(t *testing.T) {
	tests := map[string]struct {
		args string
		del  bool
		want string
	}{
		"nothing":                    {"", false, "what should be forced? lb ctl force down|up|health N [SERVICE] [-r REASON] [--for TIME] [-d]"},
		"another word":               {"sideways webapp", false, `cannot force "sideways": lb ctl force down|up|health N [SERVICE] [-r REASON] [--for TIME] [-d]`},
		"number forgotten":           {"health webapp", false, `health needs a number from 0 to 100 before the service, not "webapp": lb ctl force health N [SERVICE]`},
		"number behind the service":  {"health webapp 42", false, `health needs a number from 0 to 100 before the service, not "webapp": lb ctl force health N [SERVICE]`},
		"number forgotten, all":      {"health", false, "health needs a number from 0 to 100: lb ctl force health N [SERVICE]"},
		"number too high":            {"health 101 webapp", false, "health 101 is not between 0 and 100"},
		"negative number":            {"health -5 webapp", false, "health -5 is not between 0 and 100"},
		"fraction":                   {"health 0.5 webapp", false, `health needs a number from 0 to 100 before the service, not "0.5": lb ctl force health N [SERVICE]`},
		"reason without quotes":      {"down webapp upgrades", false, `too many words from "upgrades" on: a reason of several words is quoted, as in -r "apt upgrades"`},
		"service that can be no one": {"down ../down", false, `"../down" cannot be the name of a service: names consist of letters, digits and any of _ : . -`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := ParseForce(strings.Fields(tt.args), tt.del)
			wantError(t, err, tt.want)
			var usageErr *usage.Error
			if !errors.As(err, &usageErr) && !errors.As(err, new(*client.NameError)) {
				t.Errorf("%T is no usage error", err)
			}
		})
	}
}

func TestForceSpeaksToTheAgent(t *testing.T) {
	d := &daemon{answers: map[string]answer{
		"POST /webapp/down":     {201, "File created", ""},
		"POST /down":            {201, "File created", ""},
		"POST /webapp/health":   {201, "File created", ""},
		"POST /timed/up":        {201, "File created\nIt ends by itself at 2026-11-23T14:00:00Z.\n", ""},
		"DELETE /webapp/health": {200, "File deleted", ""},
		"DELETE /up":            {200, "File deleted", ""},
		"POST /down/down":       {400, "a reason is needed", ""},
	}}
	c := d.ask(t, client.Agent())
	tests := map[string]struct {
		force Force
		asked string
		out   string
		err   string
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
		"for a time, of an agent that does not know it": {
			Force{Kind: "down", Reason: "x", Who: "ann", For: "2h"},
			"POST /down for=2h&reason=x&who=ann", "File created\n", "this agent does not know --for: the force is there, and stays until it is deleted",
		},
		"deleted with a reason": {Force{Kind: "up", Delete: true, Who: "ann", Reason: "done"}, "DELETE /up reason=done&who=ann", "File deleted\n", ""},
		"not forced": {
			Force{Kind: "down", Service: "webapp", Delete: true},
			"DELETE /webapp/down who=", "NOT FOUND\n", "nothing to delete: webapp is not forced down: `lb ctl list` shows what is forced",
		},
		"not forced, all": {
			Force{Kind: "health", Delete: true},
			"DELETE /health who=", "NOT FOUND\n", "nothing to delete: this agent as a whole is not forced to a health: `lb ctl list` shows what is forced",
		},
		"unknown service": {
			Force{Kind: "down", Service: "nope", Reason: "x"},
			"POST /nope/down reason=x&who=", "NOT FOUND\n", "this agent has no service \"nope\": `lb ctl list` shows those it has",
		},
		"refused": {Force{Kind: "down", Service: "down", Reason: "x"}, "POST /down/down reason=x&who=", "", "lb agent refused: a reason is needed"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d.asked = nil
			var out bytes.Buffer
			wantError(t, tt.force.Do(t.Context(), &out, c), tt.err)
			if !slices.Equal(d.asked, []string{tt.asked}) {
				t.Errorf("asked %q, want %q", d.asked, tt.asked)
			}
			if out.String() != tt.out {
				t.Errorf("printed %q, want %q", out.String(), tt.out)
			}
		})
	}
}

func TestAskReason(t *testing.T) {
	const needed = `nothing was forced: a reason is needed, as in -r "apt upgrades"`
	tests := map[string]struct{ in, want, out, err string }{
		"a line":              {"apt upgrades\nmore\n", "apt upgrades\n", "Reason? ", ""},
		"a line without end":  {"apt upgrades", "apt upgrades", "Reason? ", ""},
		"end of input":        {"", "", "Reason? \n", needed},
		"an empty line":       {"\n", "", "Reason? ", needed},
		"blanks":              {"  \t\n", "", "Reason? ", needed},
		"more than one could": {strings.Repeat("x", 70000) + "\n", strings.Repeat("x", 64<<10), "Reason? ", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			got, err := AskReason(strings.NewReader(tt.in), &out, "forced")
			wantError(t, err, tt.err)
			if got != tt.want || out.String() != tt.out {
				t.Errorf("got %q and printed %q, want %q and %q", got, out.String(), tt.want, tt.out)
			}
		})
	}
}

func TestWho(t *testing.T) {
	env := func(pairs map[string]string) func(string) string { return func(k string) string { return pairs[k] } }
	if got := Who(env(map[string]string{"SUDO_USER": "ann", "USER": "root"})); got != "ann" {
		t.Errorf("under sudo: %q", got)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if got := Who(env(map[string]string{"USER": "somebody"})); got != me.Username {
		t.Errorf("without sudo: %q, want %q", got, me.Username)
	}
}
