package config

import (
	"slices"
	"strings"
)

// unknownKeyFix returns the fix for an unknown key: the most similar known key, or all known keys.
func unknownKeyFix(key string, known []string) string {
	slices.Sort(known)
	if near := nearest(key, known); near != "" {
		return "did you mean " + near + "?"
	}
	if len(known) == 0 {
		return "remove it"
	}
	return "remove it; known here: " + strings.Join(known, ", ")
}

// nearest returns the word that is most similar to word, or "" if none is similar.
func nearest(word string, words []string) string {
	fold := func(s string) string { return strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(s)) }
	best, bestDistance := "", max(1, len(word)/3)+1
	for _, w := range words {
		if d := distance(fold(word), fold(w)); d < bestDistance {
			best, bestDistance = w, d
		}
	}
	if best == "" && len(word) > 2 { // an abbreviation: ramp_up for ramp_up_time
		if i := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(fold(w), fold(word)) }); i >= 0 {
			return words[i]
		}
	}
	return best
}

// distance counts the letters to insert, delete, replace or swap with their neighbour to turn a into b (optimal string alignment distance).
func distance(a, b string) int {
	if len(a) > maxLiteral || len(b) > maxLiteral {
		return max(len(a), len(b)) // no key is that long: save the time
	}
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
