package config

import (
	"regexp"
	"slices"
)

// validName matches the names of services, clusters and hooks. They are part of URLs, file names and Pacemaker's ids.
var validName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// reservedNames have another meaning in the same place of a URL.
var reservedNames = []string{".", "..", "down", "global", "health", "metrics", "status", "up", "watch"}

// checkName checks the name of the table that d reads.
func checkName(d *decoder, n string) {
	switch {
	case !validName.MatchString(n):
		d.invalidTable("the name must be 1 to 64 of the characters A-Z a-z 0-9 _ . -", "use another name")
	case slices.Contains(reservedNames, n):
		d.invalidTable("the name is reserved: it has another meaning in URLs", "use another name")
	}
}
