package check

import (
	"context"
	"strings"
	"time"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/program"
	"github.com/braintree/lb/netx/sanitize"
)

// command is a program to run: a line for /bin/sh -c, or a program with its arguments.
type command struct {
	argv []string
	show string // as written in the configuration
}

// decodeCommand reads the options command (a line for the shell) or argv (a program and its arguments, run directly).
func decodeCommand(o config.Options) command {
	line, argv := o.String("command", ""), o.Strings("argv")
	switch {
	case o.Has("command") && o.Has("argv"):
		o.Invalid("argv", "stands beside command", "keep one of them: command for a line of shell, argv for a program and its arguments")
	case o.Has("argv") && (len(argv) == 0 || argv[0] == ""):
		o.Invalid("argv", "names no program", `give a list such as ["/usr/local/bin/check", "--fast"]`)
	case !o.Has("argv") && strings.TrimSpace(line) == "":
		o.Invalid("command", "is missing", `give a line of shell such as "test -e /run/ready", or argv = ["/usr/local/bin/check", "--fast"]`)
	}
	for _, s := range append(argv, line) {
		if strings.ContainsRune(s, 0) {
			o.Invalid("command", "holds a NUL character", "take it out")
		}
	}
	if len(argv) > 0 {
		return command{argv: argv, show: sanitize.Line(strings.Join(argv, " "), maxDetail)}
	}
	return command{argv: []string{"/bin/sh", "-c", line}, show: sanitize.Line(line, maxDetail)}
}

// outcome is how a command ended.
type outcome struct{ program.Result }

// run runs the command once, in a process group of its own that is killed whole when ctx ends or the command does: a
// check leaves no processes behind.
func (c command) run(ctx context.Context, timeout time.Duration) outcome {
	p := program.Command{Argv: c.argv, ContextErr: func(err error) error { return reason(ctx, err, timeout) }}
	return outcome{p.Run(ctx)}
}

// detail is what a command said, for the log and the operator: the end of stderr, or of stdout when that is empty.
func (o outcome) detail() string {
	said := o.Message()
	if said == "" {
		return "it printed nothing"
	}
	if over := len(said) - maxDetail/2; over > 0 {
		said = "…" + strings.ToValidUTF8(said[over:], "")
	}
	return "it printed " + said
}
