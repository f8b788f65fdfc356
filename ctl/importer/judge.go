package importer

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/braintree/lb/config"
)

// resultName is what mistakes call the text that is being made.
const resultName = "the imported lb.toml"

// judge has the output read as lb reads it. What does not stand up becomes a comment and a note, with the reason that lb gives, until the
// rest is good. It returns what the operator has to add.
func (o *output) judge(n *notes, checks config.CheckValidator) (Result, error) {
	for {
		text, targets := o.write(true)
		cfg, err := config.LoadText(resultName, text, checks)
		var mistakes config.Diagnostics
		switch {
		case err == nil:
			text, _ = o.write(false)
			return Result{Text: text, Notes: n.sorted(), Missing: o.missing(), Config: cfg}, nil
		case !errors.As(err, &mistakes):
			return Result{}, bug(err)
		}
		before := len(n.list)
		for _, m := range mistakes {
			if m.Line >= 1 && m.Line <= len(targets) {
				targets[m.Line-1].switchOff(n, inSource(m, targets))
			}
		}
		if len(n.list) == before {
			return Result{}, bug(mistakes)
		}
	}
}

// bug says that an import came to something that lb does not read, which no operator can mend: it is no config.Diagnostics.
func bug(err error) error {
	return fmt.Errorf("the result would not load, which is a bug of this import: %v: report it with the source", err)
}

// otherLine is how a mistake refers to another line of the text.
var otherLine = regexp.MustCompile(regexp.QuoteMeta(resultName) + `:(\d+)`)

// inSource has a mistake refer to lines of the source.
func inSource(m config.Diagnostic, targets []target) config.Diagnostic {
	m.Problem = otherLine.ReplaceAllStringFunc(m.Problem, func(s string) string {
		n, err := strconv.Atoi(otherLine.FindStringSubmatch(s)[1])
		if err != nil || n < 1 || n > len(targets) || targets[n-1].table == nil {
			return s
		}
		if l := targets[n-1].line; l != nil {
			return l.at.String()
		}
		return targets[n-1].table.at.String()
	})
	return m
}

// switchOff makes a comment of what a mistake is about.
func (t target) switchOff(n *notes, m config.Diagnostic) {
	reason := m.Problem
	if key := m.Key[strings.LastIndex(m.Key, ".")+1:]; t.line != nil && !t.line.list {
		if m.Value != "" {
			key += " = " + m.Value
		}
		reason = key + " " + reason
	}
	if m.Fix != "" {
		reason += ": " + m.Fix
	}
	switch {
	case t.table == nil || t.table.off != "":
		// it is none already, and was noted
	case t.line == nil || t.line.vital:
		t.table.off = reason
		n.add(t.table.at, "[%s] is not carried over: %s", t.table.name, reason)
	case t.line.off != "":
		t.table.off = "one of its lines cannot stand as it is"
		n.add(t.table.at, "[%s] is not carried over: %s", t.table.name, t.table.off)
	default:
		t.line.off = reason
		what := t.line.key
		if what == "" {
			what = t.line.value
		}
		n.add(t.line.at, "%s of [%s] is not carried over: %s", what, t.table.name, reason)
	}
}

// missing lists what the source does not say.
func (o *output) missing() config.Diagnostics {
	var out config.Diagnostics
	for _, t := range o.tables {
		for _, l := range t.lines {
			if l.missing != "" && t.off == "" {
				out = append(out, config.Diagnostic{
					File: l.at.file, Line: l.at.line, Key: t.name + "." + l.key, Problem: "is not in the source", Fix: l.missing,
				})
			}
		}
	}
	return out
}
