package importer

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/braintree/lb/config"
)

// litmus is the import of a litmus_paper configuration.
type litmus struct {
	carrier
	main  string // the file that include_files are relative to
	seen  map[string]bool
	agent *table
}

// Litmus imports the configuration of litmus_paper 1.6.2 (lib/litmus_paper/configuration_file.rb): files of YAML (.yaml, .yml) or Ruby,
// with what they include. The error is config.Diagnostics when a file cannot be read.
func Litmus(files []string, checks config.CheckValidator) (Result, error) {
	l := newLitmus()
	l.out.head = []string{
		"Made of " + strings.Join(files, ", ") + " by `lb ctl import litmus`.",
		"docs/litmus.md says what lb does otherwise than litmus_paper.",
	}
	for _, f := range files {
		l.main = f
		if err := l.file(f); err != nil {
			return Result{}, err
		}
	}
	return l.end(checks)
}

func newLitmus() *litmus {
	return &litmus{carrier: newCarrier(), seen: map[string]bool{}, agent: &table{name: "agent"}}
}

// end puts the agent's settings in front.
func (l *litmus) end(checks config.CheckValidator) (Result, error) {
	if len(l.agent.lines) > 0 {
		l.agent.at = l.agent.lines[0].at
		l.out.tables = append([]*table{l.agent}, l.out.tables...)
	}
	return l.judge(checks)
}

// file imports one file, once.
func (l *litmus) file(path string) error {
	if l.seen[filepath.Clean(path)] {
		return nil
	}
	l.seen[filepath.Clean(path)] = true
	source, err := readSource(path)
	if err != nil {
		return err
	}
	return l.source(path, source)
}

// source imports the text of one file.
func (l *litmus) source(path, source string) error {
	l.keep(path, source)
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

// statement imports a statement at the top of a Ruby file.
func (l *litmus) statement(s statement) error {
	switch {
	case s.reason != "":
		l.setAside(s.at, s.reason)
		return nil
	case s.name == "service":
		if len(s.args) != 1 || s.args[0].kind != text && s.args[0].kind != number {
			l.setAside(s.at, "a service has one name")
			return nil
		}
		t := l.begin("services", s.args[0].text, s.at)
		for _, b := range s.body {
			l.serviceStatement(t, b)
		}
		l.finish(t)
		return nil
	case len(s.args) != 1:
		l.setAside(s.at, s.name+" takes one value")
		return nil
	}
	return l.setting(s.name, s.args[0], s.at)
}

// setting imports a setting of the whole agent.
func (l *litmus) setting(name string, v value, at place) error {
	switch name {
	case "include_files":
		if v.kind != text {
			l.setAside(at, "include_files takes a pattern")
			return nil
		}
		return l.include(v.text, at)
	case "port":
		if n, ok := v.number(); ok {
			l.replace(at, "listen", fmt.Sprintf("%q", fmt.Sprintf(":%d", n)), "litmus's own -p and -b stood on its command line, 9293 by default")
			return nil
		}
	case "data_directory":
		if v.kind == text {
			l.replace(at, "data_dir", quoted(v.text), "forces that stand there now are not taken over: give them again")
			l.add(at, "data_directory: the forces that stand there now are not taken over: give them again, with lb ctl force")
			return nil
		}
	case "cache_location", "cache_ttl":
		l.add(at, "%s is not needed: checks run in the background, and an answer costs none", name)
		return nil
	}
	l.setAside(at, name+" has a value that litmus_paper does not take")
	return nil
}

// replace sets a key of [agent]; the last one counts.
func (l *litmus) replace(at place, key, value, why string) {
	l.agent.lines = slices.DeleteFunc(l.agent.lines, func(old *line) bool { return old.key == key })
	l.agent.set(at, key, value, why)
}

// include imports the files that a pattern means. A pattern of Ruby that Go does not know is not guessed.
func (l *litmus) include(pattern string, at place) error {
	if strings.Contains(pattern, "**") || strings.ContainsAny(pattern, "{}") {
		l.setAside(at, "this pattern is Ruby's own: name the files behind the main one, or run the import with each")
		return nil
	}
	full := pattern
	if !filepath.IsAbs(full) {
		full = filepath.Join(filepath.Dir(l.main), pattern)
	}
	files, err := filepath.Glob(full)
	if err != nil {
		l.setAside(at, "is not a pattern of files")
		return nil
	}
	files = slices.DeleteFunc(files, func(f string) bool {
		info, err := os.Stat(f)
		return strings.HasPrefix(filepath.Base(f), ".") && !strings.HasPrefix(filepath.Base(pattern), ".") || err == nil && !info.Mode().IsRegular()
	})
	if len(files) == 0 {
		l.add(at, "no file matches %s: nothing is included", full)
	}
	for _, f := range files {
		if err := l.file(f); err != nil {
			return err
		}
	}
	return nil
}

// finish notes what a service that is whole gets otherwise.
func (l *litmus) finish(t *table) {
	metrics, depends := false, false
	for _, part := range t.lines {
		alive := slices.ContainsFunc(part.entries, func(e *line) bool { return e.value != "" })
		metrics = metrics || part.key == "metrics" && alive
		depends = depends || part.key == "depends" && alive
	}
	if depends && !metrics {
		l.add(t.at, "[%s] has no metrics: litmus_paper gave it 0 always, lb gives it 100 while its dependencies are well", t.name)
	}
}

// serviceStatement imports a statement within a service.
func (l *litmus) serviceStatement(t *table, s statement) {
	if s.reason != "" {
		t.comments = append(t.comments, l.leaveOut(s.at, s.reason)...)
		return
	}
	role, args := config.Metric, s.args
	if s.name == "depends" {
		role = config.Dependency
	}
	list := t.list(s.at, listKey(role))
	if len(args) == 0 || args[0].kind != class {
		l.leaveEntry(list, s.at, "a check begins with its class")
		return
	}
	spec, ok := specOfClass(role, args[0].text)
	if !ok {
		l.leaveEntry(list, s.at, args[0].text+" is none of litmus_paper's own: write a script, nagios or prometheus check for it")
		return
	}
	f := &fields{at: s.at, notes: &l.notes}
	if reason := f.fromRuby(spec, args[1:], s.name == "measure_health"); reason != "" {
		l.leaveEntry(list, s.at, reason)
		return
	}
	l.check(list, spec, f)
}

// check adds a check to a list.
func (l *litmus) check(list *line, spec checkSpec, f *fields) {
	before := len(l.list)
	entry := f.convert(spec)
	if f.reason != "" {
		l.list = l.list[:before] // notes about what is not there would only distract
		l.leaveEntry(list, f.at, f.reason)
		return
	}
	list.entries = append(list.entries, &line{at: f.at, value: entry})
}

// leaveEntry leaves a check out of its list.
func (l *litmus) leaveEntry(list *line, at place, reason string) {
	for _, c := range l.leaveOut(at, reason) {
		list.entries = append(list.entries, &line{at: at, why: c})
	}
}

func listKey(role config.Role) string {
	if role == config.Dependency {
		return "depends"
	}
	return "metrics"
}
