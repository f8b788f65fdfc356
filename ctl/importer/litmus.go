package importer

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/braintree/lb/config"
)

// litmus converts a litmus_paper configuration.
type litmus struct {
	importState
	main     string // include_files patterns are relative to this file
	imported map[string]bool
	agent    *table
}

// Litmus converts configurations of litmus_paper 1.6.2 (lib/litmus_paper/configuration_file.rb), in YAML (.yaml, .yml) or Ruby, with the
// files that they include. The error is config.Mistakes if a file cannot be read.
func Litmus(files []string, checks config.CheckValidator) (Result, error) {
	l := newLitmus()
	l.out.head = []string{
		"Converted from " + strings.Join(files, ", ") + " by `lb ctl import litmus`.",
		"docs/litmus.md lists the differences between litmus_paper and lb.",
	}
	for _, f := range files {
		l.main = f
		if err := l.file(f); err != nil {
			return Result{}, err
		}
	}
	return l.finishImport(checks)
}

func newLitmus() *litmus {
	return &litmus{importState: newImportState(), imported: map[string]bool{}, agent: &table{name: "agent"}}
}

// finishImport puts [agent] first and validates the result.
func (l *litmus) finishImport(checks config.CheckValidator) (Result, error) {
	if len(l.agent.lines) > 0 {
		l.agent.at = l.agent.lines[0].at
		l.out.tables = append([]*table{l.agent}, l.out.tables...)
	}
	return l.finish(checks)
}

// file converts one file, unless it is already converted.
func (l *litmus) file(path string) error {
	if l.imported[filepath.Clean(path)] {
		return nil
	}
	l.imported[filepath.Clean(path)] = true
	source, err := readSource(path)
	if err != nil {
		return err
	}
	return l.source(path, source)
}

// source converts the text of one file.
func (l *litmus) source(path, source string) error {
	l.addSource(path, source)
	if name := filepath.Base(path); strings.Contains(name, ".yaml") || strings.Contains(name, ".yml") {
		return l.yaml(path, source)
	}
	for _, s := range parseRuby(path, source) {
		if err := l.statement(s); err != nil {
			return err
		}
	}
	return nil
}

// statement converts a top-level statement of a Ruby file.
func (l *litmus) statement(s statement) error {
	switch {
	case s.skipReason != "":
		l.skipOutsideTables(s.at, s.skipReason)
		return nil
	case s.name == "service":
		if len(s.args) != 1 || s.args[0].kind != text && s.args[0].kind != number {
			l.skipOutsideTables(s.at, "service takes exactly one name")
			return nil
		}
		t := l.beginTable("services", s.args[0].text, s.at)
		for _, b := range s.body {
			l.serviceStatement(t, b)
		}
		l.noteMissingMetrics(t)
		return nil
	case len(s.args) != 1:
		l.skipOutsideTables(s.at, s.name+" takes exactly one value")
		return nil
	}
	return l.setting(s.name, s.args[0], s.at)
}

// setting converts a setting of the agent.
func (l *litmus) setting(name string, v value, at location) error {
	switch name {
	case "include_files":
		if v.kind != text {
			l.skipOutsideTables(at, "include_files takes a file pattern")
			return nil
		}
		return l.include(v.text, at)
	case "port":
		if n, ok := v.number(); ok {
			l.setAgentKey(at, "listen", fmt.Sprintf("%q", fmt.Sprintf(":%d", n)),
				"check: litmus itself listened on -b and -p of its command line, port 9293 by default")
			return nil
		}
	case "data_directory":
		if v.kind == text {
			l.setAgentKey(at, "data_dir", quoted(v.text), "existing forces are not imported: set them again with lb ctl force")
			l.add(at, "data_directory: existing forces are not imported: set them again with lb ctl force")
			return nil
		}
	case "cache_location", "cache_ttl":
		l.add(at, "%s not converted: lb needs no cache, because checks run in the background", name)
		return nil
	}
	l.skipOutsideTables(at, "litmus_paper does not accept this value of "+name)
	return nil
}

// setAgentKey sets a key of [agent]. The last value wins.
func (l *litmus) setAgentKey(at location, key, value, why string) {
	l.agent.lines = slices.DeleteFunc(l.agent.lines, func(old *line) bool { return old.key == key })
	l.agent.set(at, key, value, why)
}

// include converts the files that match a pattern. It skips patterns that Ruby expands and filepath.Glob does not.
func (l *litmus) include(pattern string, at location) error {
	if strings.Contains(pattern, "**") || strings.ContainsAny(pattern, "{}") {
		l.skipOutsideTables(at, "** and {} are not supported: list the files on the command line after the main file")
		return nil
	}
	full := pattern
	if !filepath.IsAbs(full) {
		full = filepath.Join(filepath.Dir(l.main), pattern)
	}
	files, err := filepath.Glob(full)
	if err != nil {
		l.skipOutsideTables(at, "not a valid file pattern")
		return nil
	}
	files = slices.DeleteFunc(files, func(f string) bool {
		info, err := os.Stat(f)
		hidden := strings.HasPrefix(filepath.Base(f), ".") && !strings.HasPrefix(filepath.Base(pattern), ".") // as in Ruby
		return hidden || err == nil && !info.Mode().IsRegular()
	})
	if len(files) == 0 {
		l.add(at, "no file matches %s: nothing included", full)
	}
	for _, f := range files {
		if err := l.file(f); err != nil {
			return err
		}
	}
	return nil
}

// noteMissingMetrics notes a service without metrics, whose health lb computes differently.
func (l *litmus) noteMissingMetrics(t *table) {
	metrics, depends := false, false
	for _, part := range t.lines {
		anyConverted := slices.ContainsFunc(part.entries, func(e *line) bool { return e.value != "" })
		metrics = metrics || part.key == "metrics" && anyConverted
		depends = depends || part.key == "depends" && anyConverted
	}
	if depends && !metrics {
		l.add(t.at, "[%s] has no metrics: in litmus_paper its health was always 0; in lb it is 100 while its dependencies pass", t.name)
	}
}

// serviceStatement converts a statement inside a service block.
func (l *litmus) serviceStatement(t *table, s statement) {
	if s.skipReason != "" {
		t.comments = append(t.comments, l.skip(s.at, s.skipReason)...)
		return
	}
	role, args := config.Metric, s.args
	if s.name == "depends" {
		role = config.Dependency
	}
	list := t.list(s.at, checksKey(role))
	if len(args) == 0 || args[0].kind != class {
		l.skipCheck(list, s.at, "a check must start with its class")
		return
	}
	spec, ok := specByClass(role, args[0].text)
	if !ok {
		l.skipCheck(list, s.at, args[0].text+" is not one of litmus_paper's checks: replace it with a script, nagios or prometheus check")
		return
	}
	f := &checkFields{at: s.at, notes: &l.notes}
	if reason := f.setRubyArguments(spec, args[1:], s.name == "measure_health"); reason != "" {
		l.skipCheck(list, s.at, reason)
		return
	}
	l.addCheck(list, spec, f)
}

// addCheck converts a check and adds it to a list.
func (l *litmus) addCheck(list *line, spec checkSpec, f *checkFields) {
	before := len(l.list)
	entry := f.convert(spec)
	if f.failure != "" {
		l.list = l.list[:before] // drop notes about a check that is not converted
		l.skipCheck(list, f.at, f.failure)
		return
	}
	list.entries = append(list.entries, &line{at: f.at, value: entry})
}

// skipCheck adds a comment to a list in place of a check.
func (l *litmus) skipCheck(list *line, at location, reason string) {
	for _, c := range l.skip(at, reason) {
		list.entries = append(list.entries, &line{at: at, comment: c})
	}
}

func checksKey(role config.Role) string {
	if role == config.Dependency {
		return "depends"
	}
	return "metrics"
}
