package importer

// nagios converts a cluster's passive Nagios check to a hook.
func (k *clusterImport) nagios(cluster string) {
	name := "nagios-" + cluster
	p, ok := k.lookup("nagios")
	if !ok || p.value.kind != mapping {
		if ok {
			k.skipSetting(p, "must be a table")
		}
		k.dropHook(name)
		return
	}
	given := map[string]string{}
	for _, key := range []string{"server", "host", "check"} {
		v, _ := p.value.get(key)
		if v.kind != text || v.text == "" {
			k.skipSetting(p, key+" is missing: no result would reach Nagios")
			k.dropHook(name)
			return
		}
		given[key] = quoted(v.text)
	}
	for _, other := range p.value.pairs {
		if given[other.key] == "" {
			k.add(other.at, "%s not converted: big_brother's nagios table has no such setting", other.key)
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

// dropHook disables the hook of an earlier definition of the same cluster.
func (k *clusterImport) dropHook(name string) {
	if old := k.tables[tableName("hooks", name)]; old != nil {
		old.disabled = "its cluster is redefined at " + k.at.String() + " without a nagios table"
		k.add(old.at, "[%s] not converted: %s", old.name, old.disabled)
	}
}
