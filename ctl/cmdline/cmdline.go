// Package cmdline reorders a command line for urfave/cli, so that options may stand anywhere.
//
// urfave/cli takes everything after the first argument for arguments: `force down webapp -r why` would silently lose its reason. arrange
// finds the command in the command tree and puts each option directly after the command that defines it.
package cmdline

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/braintree/lb/ctl/usage"
)

// Command is a node of the command tree, as far as arrange needs it.
type Command struct {
	Names    []string // the name, then its aliases
	Flags    []Flag
	Commands []Command
	// TakesArguments: the command has an action of its own, with words that name no subcommand as arguments.
	TakesArguments bool
}

// Flag is one option of a command.
type Flag struct {
	Names      []string // without dashes
	TakesValue bool     // false: a switch
}

// negative matches a negative number, which is an argument and not an option.
var negative = regexp.MustCompile(`^-\d+(\.\d+)?$`)

// parser is the state of one arrange.
type parser struct {
	path  []Command // from the program to the innermost command found so far
	flags []givenFlag
	args  []string
	help  bool
}

// givenFlag is an option on the command line: its name, and its one or two words.
type givenFlag struct {
	name  string
	words []string
}

// arrange returns args, without the program's name, in the order: the program's options, command, its options, subcommand, its options,
// `--`, arguments. With `-h`, `--help`, or `help` in the place of a command, only the commands and `--help` remain. An unknown command or
// option, or an option without its value, is a *usage.Error with the nearest name. arrange does not interpret arguments.
func arrange(program Command, args []string) ([]string, error) {
	a := parser{path: []Command{program}}
	for len(args) > 0 {
		word := args[0]
		if word == "--" {
			a.args = append(a.args, args[1:]...)
			break
		}
		if len(word) < 2 || word[0] != '-' || negative.MatchString(word) {
			if err := a.argument(word); err != nil {
				return nil, err
			}
			args = args[1:]
			continue
		}
		n, err := a.flag(args)
		if err != nil {
			return nil, err
		}
		args = args[n:]
	}
	return a.words()
}

// current is the innermost command found so far.
func (a *parser) current() Command { return a.path[len(a.path)-1] }

// argument consumes a word that is not an option: the name of a command as long as one may follow, otherwise an argument.
func (a *parser) argument(word string) error {
	cur := a.current()
	if len(cur.Commands) == 0 || len(a.args) > 0 {
		a.args = append(a.args, word)
		return nil
	}
	if word == "help" {
		a.help = true
		return nil
	}
	for _, c := range cur.Commands {
		if slices.Contains(c.Names, word) {
			a.path = append(a.path, c)
			return nil
		}
	}
	if cur.TakesArguments {
		a.args = append(a.args, word)
		return nil
	}
	return usage.Errorf("unknown command %q%s", word, a.suggest(word, commandNames(cur)))
}

// flag consumes the option at the start of args and returns how many words it consumed.
func (a *parser) flag(args []string) (int, error) {
	word := args[0]
	name, _, hasValue := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(word, "-"), "-"), "=")
	if name == "help" || name == "h" {
		a.help = true
		return 1, nil
	}
	f, ok := a.find(name)
	switch {
	case ok && (!f.TakesValue || hasValue):
		a.flags = append(a.flags, givenFlag{name, args[:1]})
		return 1, nil
	case ok:
		return a.flagWithValue(name, args)
	case !strings.HasPrefix(word, "--"):
		if found, n := a.bundle(args); n > 0 {
			a.flags = append(a.flags, found...)
			return n, nil
		}
	}
	return 0, usage.OptionErrorf("unknown option %q%s", strings.SplitN(word, "=", 2)[0], a.suggest(name, a.flagNames()))
}

// flagWithValue consumes an option with the next word as its value.
func (a *parser) flagWithValue(name string, args []string) (int, error) {
	if len(args) < 2 {
		return 0, usage.OptionErrorf("option %s needs a value", args[0])
	}
	next := strings.TrimLeft(args[1], "-")
	if _, known := a.find(next); known && args[1] != next {
		return 0, usage.OptionErrorf("option %s needs a value: write a value that begins with a dash as %s=%s", args[0], dashed(name),
			args[1])
	}
	a.flags = append(a.flags, givenFlag{name, args[:2]})
	return 2, nil
}

// bundle reads several one-letter options after one dash, as in -df. The last may take a value: the rest of the word, as in -rreason, or
// the next word. It returns how many words it consumed; 0 if the word is not a bundle.
func (a *parser) bundle(args []string) ([]givenFlag, int) {
	var found []givenFlag
	letters := args[0][1:]
	for i := range len(letters) {
		name, rest := letters[i:i+1], letters[i+1:]
		f, ok := a.find(name)
		switch {
		case !ok:
			return nil, 0
		case !f.TakesValue:
			found = append(found, givenFlag{name, []string{"-" + name}})
		case rest != "":
			return append(found, givenFlag{name, []string{"-" + name + "=" + rest}}), 1
		case len(args) > 1:
			return append(found, givenFlag{name, []string{"-" + name, args[1]}}), 2
		default:
			return nil, 0
		}
	}
	return found, 1
}

// find looks an option up in the commands found so far, innermost first, then in those that may still follow. An option of a given name
// takes a value everywhere in a program or nowhere; a test of the program's command tree ensures that.
func (a *parser) find(name string) (Flag, bool) {
	for _, c := range slices.Backward(a.path) {
		if f, ok := c.flag(name); ok {
			return f, true
		}
	}
	return a.current().deepFlag(name)
}

// words returns everything in order.
func (a *parser) words() ([]string, error) {
	options := make([][]string, len(a.path)) // by command
	for _, g := range a.flags {
		level := a.owner(g.name)
		if level < 0 {
			if a.help {
				continue
			}
			return nil, usage.OptionErrorf("unknown option %q%s", g.words[0], a.suggest(g.name, a.flagNames()))
		}
		options[level] = append(options[level], g.words...)
	}
	var out []string
	for i, c := range a.path {
		if i > 0 {
			out = append(out, c.Names[0])
		}
		if !a.help {
			out = append(out, options[i]...)
		}
	}
	if a.help {
		return append(out, "--help"), nil
	}
	if len(a.args) > 0 {
		out = append(append(out, "--"), a.args...)
	}
	return out, nil
}

// owner returns the index in path of the innermost command that defines the option, or -1.
func (a *parser) owner(name string) int {
	for i, c := range slices.Backward(a.path) {
		if _, ok := c.flag(name); ok {
			return i
		}
	}
	return -1
}

// suggest completes the message about an unknown name: the nearest known name, or the help to read.
func (a *parser) suggest(name string, known []string) string {
	names := make([]string, 0, len(a.path))
	for _, c := range a.path {
		names = append(names, c.Names[0])
	}
	help := strings.Join(names, " ") + " --help"
	if near := nearest(name, known); near != "" {
		return fmt.Sprintf(": did you mean %q? See `%s`", near, help)
	}
	return fmt.Sprintf(": see `%s`", help)
}

// flagNames lists the options of the commands found so far, with their dashes.
func (a *parser) flagNames() []string {
	names := []string{"--help"}
	for _, c := range a.path {
		for _, f := range c.Flags {
			for _, n := range f.Names {
				names = append(names, dashed(n))
			}
		}
	}
	return names
}

func commandNames(c Command) []string {
	names := []string{"help"}
	for _, sub := range c.Commands {
		names = append(names, sub.Names...)
	}
	return names
}

// flag returns the command's own option of that name.
func (c Command) flag(name string) (Flag, bool) {
	for _, f := range c.Flags {
		if slices.Contains(f.Names, name) {
			return f, true
		}
	}
	return Flag{}, false
}

// deepFlag looks for an option in all subcommands of c.
func (c Command) deepFlag(name string) (Flag, bool) {
	for _, sub := range c.Commands {
		if f, ok := sub.flag(name); ok {
			return f, true
		}
		if f, ok := sub.deepFlag(name); ok {
			return f, true
		}
	}
	return Flag{}, false
}

// dashed returns the name of an option with its dashes.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}
