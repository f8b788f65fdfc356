package cmdline

import (
	"context"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/braintree/lb/ctl/usage"
)

// Run runs a command line, without the program's name. Options may stand anywhere. A wrong command line is a *usage.Error. Run never ends
// the process.
func Run(ctx context.Context, app *cli.App, words []string) error {
	words, err := arrange(Tree(app), words)
	if err != nil {
		return err
	}
	reject := func(_ *cli.Context, err error, _ bool) error { return usage.OptionErrorf("%v", err) }
	app.HideVersion = true
	app.HideHelpCommand = true // arrange turns the word help into the option
	app.ExitErrHandler = func(*cli.Context, error) {}
	app.OnUsageError = reject
	forEach(app.Commands, func(c *cli.Command) {
		c.HideHelpCommand = true
		c.OnUsageError = reject
	})
	return app.RunContext(ctx, append([]string{app.Name}, words...))
}

// forEach calls do for each command and its subcommands.
func forEach(commands []*cli.Command, do func(*cli.Command)) {
	for _, c := range commands {
		do(c)
		forEach(c.Subcommands, do)
	}
}

// Arguments checks the number of a command's arguments. The error names the first one from ArgsUsage if it is missing.
func Arguments(c *cli.Context, least, most int) error {
	switch {
	case c.NArg() < least:
		name, _, _ := strings.Cut(strings.Fields(c.Command.ArgsUsage)[0], ".")
		return usage.Errorf("missing %s: usage: %s %s", name, c.Command.HelpName, c.Command.ArgsUsage)
	case c.NArg() > most:
		return usage.Errorf("unexpected argument %q: see `%s --help`", c.Args().Get(most), c.Command.HelpName)
	}
	return nil
}
