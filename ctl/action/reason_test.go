package action

import (
	"bytes"
	"os/user"
	"strings"
	"testing"
)

func TestAskReason(t *testing.T) {
	const missing = `nothing was forced: give a reason, as in -r "apt upgrades"`
	tests := map[string]struct{ in, want, out, err string }{
		"a line":          {"apt upgrades\nmore\n", "apt upgrades\n", "Reason? ", ""},
		"no end of line":  {"apt upgrades", "apt upgrades", "Reason? ", ""},
		"end of input":    {"", "", "Reason? \n", missing},
		"an empty line":   {"\n", "", "Reason? ", missing},
		"blanks":          {"  \t\n", "", "Reason? ", missing},
		"a line too long": {strings.Repeat("x", 70000) + "\n", strings.Repeat("x", 64<<10), "Reason? ", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			got, err := askReason(strings.NewReader(tt.in), &out, "forced")
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
