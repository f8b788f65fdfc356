// Package cmdline puts the words of a command line in the order in which urfave/cli reads them, so that flags may stand anywhere.
//
// urfave/cli hands everything behind the first argument to the command as arguments: `force down webapp -r why` would lose its
// reason without a word. Arrange knows the whole command tree, finds the command that is meant, and puts each flag behind the
// command that defines it.
package cmdline

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/braintree/lb/ctl/usage"
)

// Command is a node of the command tree: what Arrange needs to know of it.
type Command struct {
	Names    []string // the name, then other names for it
	Flags    []Flag
	Commands []Command
	// TakesArguments says that it does something by itself with words that are no command below it.
	TakesArguments bool
}

// Flag is one flag of a command.
type Flag struct {
	Names      []string // without dashes
	TakesValue bool     // false for a switch
}

// negative tells a negative number, which is an argument, from a flag.
var negative = regexp.MustCompile(`^-\d+(\.\d+)?$`)

// arrangement is the state of one Arrange: the commands found so far and what belongs to each.
type arrangement struct {
	path  []Command // from the program itself to the command that is meant
	flags []given
	args  []string
	help  bool
}

// given is a flag as it stands on the line: one or two words, and the name they give.
type given struct {
	name  string
	words []string
}

// Arrange returns args (without the program's name) in the order: the program's flags, command, its flags, subcommand, its flags,
// `--`, arguments. With `-h`, `--help` or the word `help` in a command's place, only the path and `--help` are left. It returns a
// *usage.Error for an unknown command or flag, with the nearest name, and for a flag that lacks its value. It changes nothing else:
// what the arguments mean is for the command to say.
func Arrange(program Command, args []string) ([]string, error) {
	a := arrangement{path: []Command{program}}
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
func (a *arrangement) current() Command { return a.path[len(a.path)-1] }

// argument takes a word that is no flag: the name of a command as long as one may follow, else an argument.
func (a *arrangement) argument(word string) error {
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
	return usage.Errorf("no command %q%s", word, a.advise(word, commandNames(cur)))
}

// flag takes the flag at the start of args and returns how many words it used.
func (a *arrangement) flag(args []string) (int, error) {
	word := args[0]
	name, _, hasValue := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(word, "-"), "-"), "=")
	if name == "help" || name == "h" {
		a.help = true
		return 1, nil
	}
	f, ok := a.find(name)
	switch {
	case ok && (!f.TakesValue || hasValue):
		a.flags = append(a.flags, given{name, args[:1]})
		return 1, nil
	case ok:
		return a.flagWithValue(name, args)
	case !strings.HasPrefix(word, "--"):
		if found, n := a.bundle(args); n > 0 {
			a.flags = append(a.flags, found...)
			return n, nil
		}
	}
	return 0, usage.OptionErrorf("no flag %q%s", strings.SplitN(word, "=", 2)[0], a.advise(name, a.flagNames()))
}

// flagWithValue takes a flag whose value is the next word.
func (a *arrangement) flagWithValue(name string, args []string) (int, error) {
	if len(args) < 2 {
		return 0, usage.OptionErrorf("flag %s needs a value", args[0])
	}
	next := strings.TrimLeft(args[1], "-")
	if _, known := a.find(next); known && args[1] != next {
		return 0, usage.OptionErrorf("flag %s needs a value; a value that begins with a dash is written %s=%s", args[0], dashed(name), args[1])
	}
	a.flags = append(a.flags, given{name, args[:2]})
	return 2, nil
}

// bundle reads several one-letter flags behind one dash, as in -df. The last may take a value, which is the rest of the word, as in
// -rreason, or the next word. It returns how many words it used, 0 when the word is no bundle.
func (a *arrangement) bundle(args []string) ([]given, int) {
	var found []given
	letters := args[0][1:]
	for i := range len(letters) {
		name, rest := letters[i:i+1], letters[i+1:]
		f, ok := a.find(name)
		switch {
		case !ok:
			return nil, 0
		case !f.TakesValue:
			found = append(found, given{name, []string{"-" + name}})
		case rest != "":
			return append(found, given{name, []string{"-" + name + "=" + rest}}), 1
		case len(args) > 1:
			return append(found, given{name, []string{"-" + name, args[1]}}), 2
		default:
			return nil, 0
		}
	}
	return found, 1
}

// find looks a flag up in the commands found so far, innermost first, then in those that may still follow. A name has the same
// kind of flag wherever it is defined below one program; a test of the program's tree keeps it so.
func (a *arrangement) find(name string) (Flag, bool) {
	for _, c := range slices.Backward(a.path) {
		if f, ok := c.flag(name); ok {
			return f, true
		}
	}
	return a.current().deepFlag(name)
}

// words puts everything in order.
func (a *arrangement) words() ([]string, error) {
	behind := make([][]string, len(a.path))
	for _, g := range a.flags {
		level := a.owner(g.name)
		if level < 0 {
			if a.help {
				continue
			}
			return nil, usage.OptionErrorf("no flag %q%s", g.words[0], a.advise(g.name, a.flagNames()))
		}
		behind[level] = append(behind[level], g.words...)
	}
	var out []string
	for i, c := range a.path {
		if i > 0 {
			out = append(out, c.Names[0])
		}
		if !a.help {
			out = append(out, behind[i]...)
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

// owner returns the place in path of the innermost command that defines the flag, or -1.
func (a *arrangement) owner(name string) int {
	for i, c := range slices.Backward(a.path) {
		if _, ok := c.flag(name); ok {
			return i
		}
	}
	return -1
}

// advise ends the message about an unknown name: the nearest one, or where to read on.
func (a *arrangement) advise(name string, known []string) string {
	names := make([]string, 0, len(a.path))
	for _, c := range a.path {
		names = append(names, c.Names[0])
	}
	help := strings.Join(names, " ") + " --help"
	if near := Nearest(name, known); near != "" {
		return fmt.Sprintf(": did you mean %q? See `%s`", near, help)
	}
	return fmt.Sprintf(": see `%s`", help)
}

// flagNames lists the flags of the commands found so far, as they are typed.
func (a *arrangement) flagNames() []string {
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

// flag returns the command's own flag of that name.
func (c Command) flag(name string) (Flag, bool) {
	for _, f := range c.Flags {
		if slices.Contains(f.Names, name) {
			return f, true
		}
	}
	return Flag{}, false
}

// deepFlag looks through all commands below c.
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

// dashed writes a flag's name as it is typed.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}
