package config

// Warnings are settings that are allowed but probably not intended, sorted by file and line.
func (c *Config) Warnings() []Diagnostic { return c.warnings }

// warn reports that the value of key is probably not intended.
func (d *decoder) warn(key, problem, fix string) {
	path := joinKey(d.path, key)
	d.report.warnings.add(Diagnostic{
		File: d.doc.name, Line: d.line(path), Key: path, Value: literal(d.values[key]), Problem: problem, Fix: fix,
	})
}

// warnEmpty warns about a configuration without services and clusters.
func (l *loader) warnEmpty() {
	if len(l.cfg.Services) == 0 && len(l.cfg.Clusters) == 0 {
		l.report.warnings.add(Diagnostic{
			File: l.cfg.Path, Problem: "has neither services nor clusters",
			Fix: "add [services.NAME] for an agent, or [clusters.NAME] for a balancer",
		})
	}
}
