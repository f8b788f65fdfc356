package cmdline

import "github.com/urfave/cli/v2"

// Tree returns the command tree of a program.
func Tree(app *cli.App) Command {
	return Command{
		Names:    []string{app.Name},
		Flags:    flagsOf(app.Flags),
		Commands: commandsOf(app.Commands),
	}
}

func commandsOf(from []*cli.Command) []Command {
	var commands []Command
	for _, c := range from {
		commands = append(commands, Command{
			Names:          c.Names(),
			Flags:          flagsOf(c.Flags),
			Commands:       commandsOf(c.Subcommands),
			TakesArguments: c.ArgsUsage != "",
		})
	}
	return commands
}

func flagsOf(from []cli.Flag) []Flag {
	var flags []Flag
	for _, f := range from {
		_, isSwitch := f.(*cli.BoolFlag)
		flags = append(flags, Flag{Names: f.Names(), TakesValue: !isSwitch})
	}
	return flags
}
