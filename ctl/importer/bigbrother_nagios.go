package importer

// nagios makes a hook of a cluster's passive check.
func (k *clusterImport) nagios(cluster string) {
	name := "nagios-" + cluster
	p, ok := k.lookup("nagios")
	if !ok || p.value.kind != mapping {
		if ok {
			k.skipSetting(p, "it is not a table")
		}
		k.dropHook(name)
		return
	}
	given := map[string]string{}
	for _, key := range []string{"server", "host", "check"} {
		v, _ := p.value.get(key)
		if v.kind != text || v.text == "" {
			k.skipSetting(p, "it names no "+key+", without which nothing reaches Nagios")
			k.dropHook(name)
			return
		}
		given[key] = quoted(v.text)
	}
	for _, other := range p.value.pairs {
		if given[other.key] == "" {
			k.add(other.at, "%s is left out: big_brother's nagios has no such setting", other.key)
		}
	}
	h := k.beginTable("hooks", name, p.at)
	h.set(p.at, "type", quoted("nsca"), "")
	h.set(p.at, "server", given["server"], "")
	h.set(p.at, "host", given["host"], "")
	h.set(p.at, "service", given["check"], "")
	h.set(p.at, "clusters", stringList([]string{cluster}), "")
	for _, l := range h.lines {
		l.required = true
	}
}

// noHook takes the hook away that a cluster had where it was defined before.
func (k *clusterImport) dropHook(name string) {
	if old := k.tables[tableName("hooks", name)]; old != nil {
		old.disabled = "its cluster is defined again at " + k.at.String() + ", without a hook"
		k.add(old.at, "[%s] is not carried over: %s", old.name, old.disabled)
	}
}
