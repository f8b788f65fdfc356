package cmdline

import "strings"

// nearest returns the known name that is most similar to name, or "" if none is similar: at most one edit for every three letters, without
// the dashes. Of equally similar names it returns the first.
func nearest(name string, known []string) string {
	name = strings.TrimLeft(name, "-")
	best, bestDistance := "", len(name)/3+1
	for _, k := range known {
		bare := strings.TrimLeft(k, "-")
		if len(bare) < 2 {
			continue // any letter is one edit away from any other
		}
		if d := distance(name, bare); d < bestDistance || d == bestDistance && best == "" {
			best, bestDistance = k, d
		}
	}
	return best
}

// distance counts the letters to insert, delete, replace or swap with their neighbour to turn a into b (optimal string alignment distance).
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
