package config

// Warnings are what is allowed but hardly meant, sorted by file and line.
func (c *Config) Warnings() []Mistake { return c.warnings }

// warn notes that the value of key is hardly meant.
func (l *loader) warn(d *decoder, key, problem, fix string) {
	path := joinKey(d.path, key)
	l.warnings.add(Mistake{
		File: d.doc.name, Line: d.line(path), Key: path, Value: literal(d.values[key]), Problem: problem, Fix: fix,
	})
}

// warnEmpty notes that there is nothing to do.
func (l *loader) warnEmpty() {
	if len(l.cfg.Services) == 0 && len(l.cfg.Clusters) == 0 {
		l.warnings.add(Mistake{
			File: l.cfg.Path, Problem: "holds neither services nor clusters",
			Fix: "add [services.NAME] for an agent, [clusters.NAME] for a balancer",
		})
	}
}
