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
func (o *output) validate(n *notes, checks config.CheckValidator) (Result, error) {
	for {
		text, origins := o.write(true)
		cfg, err := config.LoadText(resultName, text, checks)
		var mistakes config.Mistakes
		switch {
		case err == nil:
			text, _ = o.write(false)
			return Result{Text: text, Notes: n.sorted(), Missing: o.missing(), Config: cfg}, nil
		case !errors.As(err, &mistakes):
			return Result{}, internalError(err)
		}
		before := len(n.list)
		for _, m := range mistakes {
			if m.Line >= 1 && m.Line <= len(origins) {
				origins[m.Line-1].disable(n, withSourceLocations(m, origins))
			}
		}
		if len(n.list) == before {
			return Result{}, internalError(mistakes)
		}
	}
}

// bug says that an import came to something that lb does not read, which no operator can mend: it is no config.Mistakes.
func internalError(err error) error {
	return fmt.Errorf("the result would not load, which is a bug of this import: %v: report it with the source", err)
}

// otherLine is how a mistake refers to another line of the text.
var lineReference = regexp.MustCompile(regexp.QuoteMeta(resultName) + `:(\d+)`)

// inSource has a mistake refer to lines of the source.
func withSourceLocations(m config.Mistake, targets []origin) config.Mistake {
	m.Problem = lineReference.ReplaceAllStringFunc(m.Problem, func(s string) string {
		n, err := strconv.Atoi(lineReference.FindStringSubmatch(s)[1])
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
func (t origin) disable(n *notes, m config.Mistake) {
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
	case t.table == nil || t.table.disabled != "":
		// it is none already, and was noted
	case t.line == nil || t.line.required:
		t.table.disabled = reason
		n.add(t.table.at, "[%s] is not carried over: %s", t.table.name, reason)
	case t.line.disabled != "":
		t.table.disabled = "one of its lines cannot stand as it is"
		n.add(t.table.at, "[%s] is not carried over: %s", t.table.name, t.table.disabled)
	default:
		t.line.disabled = reason
		what := t.line.key
		if what == "" {
			what = t.line.value
		}
		n.add(t.line.at, "%s of [%s] is not carried over: %s", what, t.table.name, reason)
	}
}

// missing lists what the source does not say.
func (o *output) missing() config.Mistakes {
	var out config.Mistakes
	for _, t := range o.tables {
		for _, l := range t.lines {
			if l.missing != "" && t.disabled == "" {
				out = append(out, config.Mistake{
					File: l.at.file, Line: l.at.line, Key: t.name + "." + l.key, Problem: "is not in the source", Fix: l.missing,
				})
			}
		}
	}
	return out
}
