package check

import (
	"context"
	"strings"
	"time"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/program"
	"github.com/braintree/lb/netx/sanitize"
)

// command is a program to run: a command line for /bin/sh -c, or a program with its arguments.
type command struct {
	argv []string
	show string // as written in the configuration
}

// decodeCommand reads the options command (a shell command line) and argv (a program and its arguments, run
// without a shell).
func decodeCommand(o config.Options) command {
	line, argv := o.String("command", ""), o.Strings("argv")
	switch {
	case o.Has("command") && o.Has("argv"):
		o.Invalid("argv", "cannot be combined with command",
			"keep one: command for a shell command line, argv for a program and its arguments")
	case o.Has("argv") && (len(argv) == 0 || argv[0] == ""):
		o.Invalid("argv", "names no program", `give a list such as ["/usr/local/bin/check", "--fast"]`)
	case !o.Has("argv") && strings.TrimSpace(line) == "":
		o.Invalid("command", "is missing",
			`give a shell command line such as "test -e /run/ready", or argv = ["/usr/local/bin/check", "--fast"]`)
	}
	for _, s := range append(argv, line) {
		if strings.ContainsRune(s, 0) {
			o.Invalid("command", "contains a NUL character", "remove it")
		}
	}
	if len(argv) > 0 {
		return command{argv: argv, show: sanitize.Line(strings.Join(argv, " "), maxDetail)}
	}
	return command{argv: []string{"/bin/sh", "-c", line}, show: sanitize.Line(line, maxDetail)}
}

// outcome is the exit status and the output of a command.
type outcome struct{ program.Result }

// run runs the command once, in its own process group. The whole group is killed when the command or ctx
// ends: a check leaves no processes behind.
func (c command) run(ctx context.Context, timeout time.Duration) outcome {
	p := program.Command{Argv: c.argv, ContextErr: func(err error) error { return reason(ctx, err, timeout) }}
	return outcome{p.Run(ctx)}
}

// detail describes the output for operators: the end of stderr, or of stdout if stderr is empty.
func (o outcome) detail() string {
	output := o.Message()
	if output == "" {
		return "it printed nothing"
	}
	if over := len(output) - maxDetail/2; over > 0 {
		output = "…" + strings.ToValidUTF8(output[over:], "")
	}
	return "it printed " + output
}
