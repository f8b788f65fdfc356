package cmdline

import (
	"context"

	"github.com/urfave/cli/v2"

	"github.com/braintree/lb/ctl/usage"
)

// Run runs a command line (without the program's name): flags may stand anywhere, and whatever is wrong with it is a *usage.Error. It
// never ends the process.
func Run(ctx context.Context, app *cli.App, words []string) error {
	words, err := Arrange(Tree(app), words)
	if err != nil {
		return err
	}
	refuse := func(_ *cli.Context, err error, _ bool) error { return usage.OptionErrorf("%v", err) }
	app.HideVersion = true
	app.HideHelpCommand = true // Arrange makes a flag of the word
	app.ExitErrHandler = func(*cli.Context, error) {}
	app.OnUsageError = refuse
	every(app.Commands, func(c *cli.Command) {
		c.HideHelpCommand = true
		c.OnUsageError = refuse
	})
	return app.RunContext(ctx, append([]string{app.Name}, words...))
}

// every calls do for each command, also below others.
func every(commands []*cli.Command, do func(*cli.Command)) {
	for _, c := range commands {
		do(c)
		every(c.Subcommands, do)
	}
}

// Arguments checks how many arguments a command has; missing is what to say when there are too few.
func Arguments(c *cli.Context, least, most int, missing string) error {
	switch {
	case c.NArg() < least:
		return usage.Errorf("%s", missing)
	case c.NArg() > most:
		return usage.Errorf("%q is one word too many: see `%s --help`", c.Args().Get(most), c.Command.HelpName)
	}
	return nil
}
