package cmdline

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/braintree/lb/ctl/usage"
)

// program has options of every kind at every depth.
func program() Command {
	return Tree(&cli.App{
		Name:  "lb",
		Flags: []cli.Flag{&cli.StringFlag{Name: "config", Aliases: []string{"c"}}, &cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}}},
		Commands: []*cli.Command{
			{Name: "balance", Flags: []cli.Flag{&cli.BoolFlag{Name: "dry-run"}}},
			{Name: "ctl", Aliases: []string{"control"}, Flags: []cli.Flag{&cli.StringFlag{Name: "agent"}}, Subcommands: []*cli.Command{
				{Name: "list", Flags: []cli.Flag{&cli.BoolFlag{Name: "json"}}},
				{Name: "force", Flags: []cli.Flag{
					&cli.StringFlag{Name: "reason", Aliases: []string{"r"}},
					&cli.BoolFlag{Name: "delete", Aliases: []string{"d"}},
					&cli.IntFlag{Name: "limit"},
				}},
				{Name: "print", ArgsUsage: "[CLUSTER…]", Subcommands: []*cli.Command{{Name: "status", ArgsUsage: "[CLUSTER…]"}}},
			}},
		},
	})
}

func TestArrange(t *testing.T) {
	tests := map[string]struct{ line, want string }{
		"nothing":                            {"", ""},
		"already in order":                   {"ctl force -r why down webapp", "ctl force -r why -- down webapp"},
		"options after arguments":            {"ctl force down webapp -r why", "ctl force -r why -- down webapp"},
		"options between arguments":          {"ctl force down -r why webapp -d", "ctl force -r why -d -- down webapp"},
		"value with an equals sign":          {"ctl force down --reason=a=b webapp", "ctl force --reason=a=b -- down webapp"},
		"empty value":                        {"ctl force down --reason= webapp", "ctl force --reason= -- down webapp"},
		"switch with a value":                {"ctl list --json=false", "ctl list --json=false"},
		"the program's option at the end":    {"ctl list -c /f --json", "-c /f ctl list --json"},
		"the program's option in the middle": {"ctl -c /f list", "-c /f ctl list"},
		"the group's option at the end":      {"ctl list --agent a:1", "ctl --agent a:1 list"},
		"the command's option at the start":  {"--reason why ctl force down", "ctl force --reason why -- down"},
		"single dash with a long name":       {"balance -dry-run", "balance -dry-run"},
		"double dash ends the options":       {"ctl force down -- -d --help", "ctl force -- down -d --help"},
		"double dash after options":          {"ctl force -d -- down", "ctl force -d -- down"},
		"negative number is an argument":     {"ctl force health -5 webapp", "ctl force -- health -5 webapp"},
		"negative fraction is an argument":   {"ctl force health -0.5", "ctl force -- health -0.5"},
		"negative number as a value":         {"ctl force down --limit -5", "ctl force --limit -5 -- down"},
		"a single dash is an argument":       {"ctl force -", "ctl force -- -"},
		"unknown option as a value":          {"ctl force down -r -x", "ctl force -r -x -- down"},
		"several switches after one dash":    {"ctl force down -dv", "-v ctl force -d -- down"},
		"value without a space":              {"ctl force down -rwhy", "ctl force -r=why -- down"},
		"bundle that ends in a value":        {"ctl force down -drwhy", "ctl force -d -r=why -- down"},
		"bundle, value is the next word":     {"ctl force -dr why down", "ctl force -d -r why -- down"},
		"value without a space, with equals": {"ctl force down -rk=v", "ctl force -r=k=v -- down"},
		"alias of a command":                 {"control list", "ctl list"},
		"argument named like a command":      {"ctl force list", "ctl force -- list"},
		"argument where a command may be":    {"ctl print web -v", "-v ctl print -- web"},
		"command where an argument may be":   {"ctl print status web", "ctl print status -- web"},
		"command's name after an argument":   {"ctl print web status help", "ctl print -- web status help"},
		"argument named help":                {"ctl force down help", "ctl force -- down help"},
		"repeated option keeps its order":    {"ctl force -r a down -r b", "ctl force -r a -r b -- down"},
		"help option":                        {"ctl force down -r why --help", "ctl force --help"},
		"help, short":                        {"-h ctl", "ctl --help"},
		"help as a command":                  {"help ctl force", "ctl force --help"},
		"help as a subcommand":               {"ctl help force", "ctl force --help"},
		"help alone":                         {"help", "--help"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := arrange(program(), strings.Fields(tt.line))
			if err != nil {
				t.Fatal(err)
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("arrange(%q) = %q, want %q", tt.line, strings.Join(got, " "), tt.want)
			}
		})
	}
}

func TestArrangeKeepsWordsWhole(t *testing.T) {
	got, err := arrange(program(), []string{"ctl", "force", "down", "", "-r", "apt upgrades", "we app"})
	want := []string{"ctl", "force", "-r", "apt upgrades", "--", "down", "", "we app"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestArrangeRejects(t *testing.T) {
	tests := map[string]struct{ line, want string }{
		"unknown command":       {"balanse", "unknown command \"balanse\": did you mean \"balance\"? See `lb --help`"},
		"unknown subcommand":    {"ctl forec down", "unknown command \"forec\": did you mean \"force\"? See `lb ctl --help`"},
		"unknown, nothing near": {"xyzzy", "unknown command \"xyzzy\": see `lb --help`"},
		"unknown option": {"balance --dryrun",
			"unknown option \"--dryrun\": did you mean \"--dry-run\"? See `lb balance --help`"},
		"unknown option with a value": {"ctl force down --raeson=x",
			"unknown option \"--raeson\": did you mean \"--reason\"? See `lb ctl force --help`"},
		"option of another command":       {"ctl list -r why", "unknown option \"-r\": see `lb ctl list --help`"},
		"option before the wrong command": {"--dry-run ctl list", "unknown option \"--dry-run\": see `lb ctl list --help`"},
		"missing value at the end":        {"ctl force down -r", "option -r needs a value"},
		"missing value": {"ctl force down -r -d",
			"option -r needs a value: write a value that begins with a dash as -r=-d"},
		"unknown letter in bundle": {"ctl force -dz", "unknown option \"-dz\": see `lb ctl force --help`"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := arrange(program(), strings.Fields(tt.line))
			var usageErr *usage.Error
			if !errors.As(err, &usageErr) {
				t.Fatalf("got %q, %v, want a usage error", got, err)
			}
			if err.Error() != tt.want {
				t.Errorf("got  %s\nwant %s", err, tt.want)
			}
		})
	}
}

func TestNearest(t *testing.T) {
	known := []string{"agent", "balance", "ctl", "demo", "--json", "-d"}
	tests := map[string]string{"agnet": "agent", "balancer": "balance", "ctrl": "ctl", "dmeo": "demo", "--jsn": "--json", "x": "",
		"status": "", "": ""}
	for name, want := range tests {
		if got := nearest(name, known); got != want {
			t.Errorf("nearest(%q) = %q, want %q", name, got, want)
		}
	}
}

func FuzzArrange(f *testing.F) {
	f.Add("ctl force down -r why -- -x")
	f.Add("-c=1 --= - -- help -dv -0")
	f.Fuzz(func(t *testing.T, line string) {
		words := strings.Split(line, " ")
		got, err := arrange(program(), words)
		if err != nil {
			return
		}
		again, err := arrange(program(), got)
		if err != nil || !slices.Equal(got, again) {
			t.Errorf("%q gives %q, which gives %q, %v", words, got, again, err)
		}
	})
}
