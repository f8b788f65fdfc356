package importer

import (
	"strings"

	"github.com/braintree/lb/config"
)

// yaml converts a YAML file.
func (l *litmus) yaml(path, source string) error {
	v, err := readYAML(path, source, &l.notes)
	if err != nil {
		return err
	}
	if v.kind == null {
		l.add(v.at, "the file is empty")
		return nil
	}
	if v.kind != mapping {
		return typeMistake(v, "a table of settings and services")
	}
	for _, p := range v.pairs {
		// litmus_paper's manual writes include-files, which litmus_paper ignores.
		switch name := strings.ReplaceAll(p.key, "-", "_"); name {
		case "include_files", "port", "data_directory", "cache_location", "cache_ttl":
			if name != p.key {
				l.add(p.at, "litmus_paper ignores %s; converted as %s, the intended name", p.key, name)
			}
			if err := l.setting(name, p.value, p.at); err != nil {
				return err
			}
		case "services":
			if p.value.kind != mapping && p.value.kind != null {
				return typeMistake(p.value, "a table of services")
			}
			for _, s := range p.value.pairs {
				l.yamlService(s)
			}
		default:
			l.skipOutsideTables(p.at, "litmus_paper has no such setting")
		}
	}
	return nil
}

// yamlService converts a service.
func (l *litmus) yamlService(s pair) {
	t := l.beginTable("services", s.key, s.at)
	if s.value.kind != mapping && s.value.kind != null {
		t.comments = append(t.comments, l.skip(s.at, "a service must be a table of dependencies and checks")...)
		return
	}
	for _, p := range s.value.pairs {
		switch {
		case p.key != "dependencies" && p.key != "checks":
			t.comments = append(t.comments, l.skip(p.at, "litmus_paper's services have no setting "+p.key)...)
		case p.value.kind == null:
		case p.value.kind != list:
			t.comments = append(t.comments, l.skip(p.at, p.key+" must be a list")...)
		default:
			role := config.Metric
			if p.key == "dependencies" {
				role = config.Dependency
			}
			checks := t.list(p.at, checksKey(role))
			for _, item := range p.value.items {
				l.yamlCheck(checks, role, item)
			}
		}
	}
	l.noteMissingMetrics(t)
}

// yamlCheck converts an entry of dependencies or checks.
func (l *litmus) yamlCheck(list *line, role config.Role, item value) {
	checkType, ok := item.get("type")
	if item.kind != mapping || !ok {
		l.skipCheck(list, item.at, "a check must be a table with a type")
		return
	}
	spec, known := specByYAMLType(role, checkType.text)
	if !known {
		l.skipCheck(list, item.at, "litmus_paper has no "+string(role)+" of type "+checkType.describe())
		return
	}
	f := &checkFields{at: item.at, notes: &l.notes}
	for _, p := range item.pairs {
		if p.key != "type" {
			f.options.set(p)
		}
	}
	if spec.failsInYAML {
		l.add(item.at, "litmus_paper fails on %s checks in YAML; converted as intended", checkType.text)
	}
	l.addCheck(list, spec, f)
}
