package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/urfave/cli/v2"

	"github.com/braintree/lb/netx/lab/labtest"
)

// TestReadme runs the sessions in README.md with the files that it shows, and compares their output. The sessions that need a kernel with
// IPVS, the demo and the cluster's status, are compared in netx/lab/e2e.
func TestReadme(t *testing.T) {
	heartbeat := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(heartbeat.Close) // the script outlives this function
	// Ports and paths differ from the README, because other programs may use those on this machine.
	here := strings.NewReplacer("localhost:3000", strings.TrimPrefix(heartbeat.URL, "http://"))
	agent := "\n[agent]\nlisten = \"$LISTEN\"\ncontrol = \"$WORK/agent.sock\"\ndata_dir = \"$WORK/data\"\n"

	var script, wanted strings.Builder
	script.WriteString("env LB_CONFIG=lb.toml\nfill lb.toml\nexec lb agent &agent&\nawait 'Health: 100' lb ctl status webapp\n")
	for _, part := range []struct{ block, stream string }{{"session", "stdout"}, {"mistakes", "stderr"}} {
		for i, command := range strings.Split(labtest.ReadmeBlock(t, "README.md", part.block), "$ ")[1:] {
			line, output, _ := strings.Cut(command, "\n")
			fmt.Fprintf(&script, "run %s\ncmp %s %s%d\n", strings.ReplaceAll(line, `"`, `'`), part.stream, part.block, i)
			fmt.Fprintf(&wanted, "-- %s%d --\n%s", part.block, i, here.Replace(output))
		}
	}
	fmt.Fprintf(&script, "signal TERM\nwait agent\n")
	fmt.Fprintf(&wanted, "-- lb.toml --\n%s%s-- broken.toml --\n%s", here.Replace(labtest.ReadmeBlock(t, "README.md", "config")), agent,
		labtest.ReadmeBlock(t, "README.md", "broken"))
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "readme.txtar"), []byte(script.String()+wanted.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	params := scripts(dir)
	params.Cmds["run"] = func(ts *testscript.TestScript, _ bool, args []string) {
		_ = ts.Exec(args[0], args[1:]...) // only the output counts: a service that is down is no failure
	}
	testscript.Run(t, params)
}

// commandMention matches a command of lb in a document: in a console session, also after another command, in backquotes, or in a comment
// of lb.toml.
var commandMention = regexp.MustCompile("(?m)(?:^\\$ |`|^# +|&& |\\$b )lb ((?:agent|balance|ctl|ocf|demo|version)\\b[^`\n]*)")

// TestDocumentsMentionExistingCommands looks up in the command table every command and option that a document, or the advice of pacemaker
// status, mentions. It also checks that the README links to every document.
func TestDocumentsMentionExistingCommands(t *testing.T) {
	files, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !strings.Contains(string(readme), "("+file+")") {
			t.Errorf("README.md does not link to %s", file)
		}
	}
	found := 0
	advice, err := filepath.Glob("ocf/consistency/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(append(files, advice...), "README.md", "config/lb.toml") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range commandMention.FindAllStringSubmatch(string(text), -1) {
			found++
			if wrong := unknownWord(process{}.lb(), strings.Fields(m[1])); wrong != "" {
				t.Errorf("%s: lb %s: lb has no %q there", file, m[1], wrong)
			}
		}
	}
	if found < 50 {
		t.Errorf("found only %d commands in the documents", found)
	}
}

// unknownWord returns the first word that should be a command or an option and is none; "": there is no such word.
func unknownWord(app *cli.App, words []string) string {
	commands, flags, takesWords := app.Commands, app.Flags, false
	for _, w := range words {
		if slices.Contains([]string{"…", "|", "&&", "#"}, w) {
			return "" // what follows is any subcommand, another program, or a comment
		}
		name, isOption := strings.CutPrefix(strings.TrimPrefix(w, "-"), "-")
		isOption = isOption || strings.HasPrefix(w, "-")
		switch {
		case isOption && !slices.ContainsFunc(flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) }):
			return w
		case isOption || len(commands) == 0:
			continue
		}
		w, _, _ = strings.Cut(w, "|")
		at := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(w) })
		switch {
		case at < 0 && takesWords:
			commands = nil
			continue
		case at < 0:
			return w
		}
		takesWords = commands[at].ArgsUsage != ""
		flags = append(slices.Clone(flags), commands[at].Flags...)
		commands = commands[at].Subcommands
	}
	return ""
}
