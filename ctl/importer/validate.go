package importer

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/braintree/lb/config"
)

// resultName is the file name of the output in mistakes.
const resultName = "the imported lb.toml"

// validate loads the output as lb would. Each line or table that lb rejects becomes a comment and a note with lb's reason, until the rest
// loads.
func (o *output) validate(n *notes, checks config.CheckValidator) (Result, error) {
	for {
		text, origins := o.write(true)
		cfg, err := config.LoadText(resultName, text, checks)
		var mistakes config.Diagnostics
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

// internalError reports output that lb rejects and that cannot be disabled line by line. It is not a config.Diagnostics: the operator
// cannot fix it.
func internalError(err error) error {
	return fmt.Errorf("the result does not load, which is a bug in lb ctl import: %v: report it and attach the source", err)
}

// lineReference matches a mistake's reference to another line of the output.
var lineReference = regexp.MustCompile(regexp.QuoteMeta(resultName) + `:(\d+)`)

// withSourceLocations replaces references to lines of the output with locations in the source.
func withSourceLocations(m config.Diagnostic, origins []origin) config.Diagnostic {
	m.Problem = lineReference.ReplaceAllStringFunc(m.Problem, func(s string) string {
		n, err := strconv.Atoi(lineReference.FindStringSubmatch(s)[1])
		if err != nil || n < 1 || n > len(origins) || origins[n-1].table == nil {
			return s
		}
		if l := origins[n-1].line; l != nil {
			return l.at.String()
		}
		return origins[n-1].table.at.String()
	})
	return m
}

// disable turns the line or table that a mistake is about into a comment.
func (o origin) disable(n *notes, m config.Diagnostic) {
	reason := m.Problem
	ofTable := o.line == nil && o.table != nil && strings.HasPrefix(m.Key, o.table.name+".") // a key that the table lacks
	if key := m.Key[strings.LastIndex(m.Key, ".")+1:]; ofTable || o.line != nil && !o.line.list {
		if m.Value != "" {
			key += " = " + m.Value
		}
		reason = key + " " + reason
	}
	if m.Fix != "" {
		reason += ": " + m.Fix
	}
	switch {
	case o.table == nil || o.table.disabled != "":
		// already disabled and noted
	case o.line == nil || o.line.required:
		o.table.disabled = reason
		n.add(o.table.at, "[%s] not converted: %s", o.table.name, reason)
	case o.line.disabled != "":
		o.table.disabled = "one of its lines is invalid"
		n.add(o.table.at, "[%s] not converted: %s", o.table.name, o.table.disabled)
	default:
		o.line.disabled = reason
		what := o.line.key
		if what == "" {
			what = o.line.value
		}
		n.add(o.line.at, "%s in [%s] not converted: %s", what, o.table.name, reason)
	}
}

// missing lists the required settings that the source lacks.
func (o *output) missing() config.Diagnostics {
	var out config.Diagnostics
	for _, t := range o.tables {
		for _, l := range t.lines {
			if l.missing != "" && t.disabled == "" {
				out = append(out, config.Diagnostic{
					File: l.at.file, Line: l.at.line, Key: t.name + "." + l.key, Problem: "is not in the source", Fix: l.missing,
				})
			}
		}
	}
	return out
}
