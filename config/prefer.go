package config

import (
	"fmt"
	"regexp"
)

// goodMachine is what the machines of a cluster manager may be called here: host names, with or without a domain. Pacemaker takes more, but its
// tools' command lines do not.
var goodMachine = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,252}$`)

// preferMost is how many machines a cluster may prefer: what Corosync has room for.
const preferMost = 32

// prefer reads the machines that a cluster manager should run a cluster on.
func (l *loader) prefer(d *decoder) []string {
	const key = "prefer"
	names := d.strings(key)
	if len(names) > preferMost {
		d.mistake(key, fmt.Sprintf("names %d machines, and no cluster has more than %d", len(names), preferMost), "name those that matter")
	}
	seen := map[string]bool{}
	for i, name := range names {
		path := joinIndex(joinKey(d.path, key), i)
		if seen[name] {
			d.mistakeAt(path, name, "is in the list twice", "remove one of them")
			continue
		}
		seen[name] = true
		if !goodMachine.MatchString(name) {
			d.mistakeAt(path, name, "cannot be the name of a load balancer", "write it as crm_node -l shows it, such as load01")
		}
	}
	if len(names) == 0 {
		return nil // none are none, however they are written
	}
	if d.values["autostart"] == true {
		l.warn(d, key, "is for Pacemaker, which starts clusters itself, and this one has autostart = true", "remove one of them")
	}
	return names
}
