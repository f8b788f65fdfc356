package ipvs

import "slices"

// Find returns the position of a service in a list that is sorted by key, as Table.Dump returns it, and whether the list has the service.
func Find(sorted []Service, k Key) (int, bool) {
	return slices.BinarySearchFunc(sorted, k, func(s Service, k Key) int { return compareKeys(s.Key, k) })
}
