package config

import (
	"fmt"
	"regexp"
)

// validMachine matches host names, with or without a domain. Pacemaker accepts more, but its tools' command lines do not.
var validMachine = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,252}$`)

// maxPreferred is the maximum number of machines in a Corosync cluster.
const maxPreferred = 32

// readPrefer reads the machines on which the cluster manager should run a cluster.
func readPrefer(d *decoder) []string {
	const key = "prefer"
	names := d.strings(key)
	if len(names) > maxPreferred {
		d.invalid(key, fmt.Sprintf("lists %d machines, but Corosync supports at most %d", len(names), maxPreferred), "shorten the list")
	}
	seen := map[string]bool{}
	for i, name := range names {
		path := joinIndex(joinKey(d.path, key), i)
		if seen[name] {
			d.invalidAt(path, name, "is in the list twice", "remove one of them")
			continue
		}
		seen[name] = true
		if !validMachine.MatchString(name) {
			d.invalidAt(path, name, "is not a valid machine name", "use a name from `crm_node -l`, such as load01")
		}
	}
	if len(names) == 0 {
		return nil // an empty list equals no list
	}
	if d.values["autostart"] == true {
		d.warn(key, "is for Pacemaker, which starts clusters itself, but this cluster has autostart = true", "remove one of the two")
	}
	return names
}
