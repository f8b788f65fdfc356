package config

import (
	"regexp"
	"slices"
)

// goodName is what services and clusters may be called: it stands in URLs, in file names and in the cluster manager.
var goodName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// takenNames have a meaning of their own in the same place of a URL.
var takenNames = []string{".", "..", "down", "global", "health", "metrics", "status", "up", "watch"}

// named judges the name of the service or cluster that d walks over.
func named(d *decoder, n string) {
	switch {
	case !goodName.MatchString(n):
		d.own("the name must be 1 to 64 of the characters A-Z a-z 0-9 _ . -", "choose another name")
	case slices.Contains(takenNames, n):
		d.own("the name is taken: it has a meaning of its own in URLs", "choose another name")
	}
}
