// Package sanitize makes one short, printable line out of text that came from outside: reasons, answers, errors, output of scripts.
package sanitize

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Line gives s as one line of valid UTF-8 of at most limit bytes: whatever does not print (line ends, terminal escapes, direction
// marks, broken UTF-8) becomes a single space or the replacement character, and a cut end shows as "…".
func Line(s string, limit int) string {
	if clean(s, limit) {
		return s
	}
	const ellipsis = "…"
	var b strings.Builder
	gap := false
	for _, r := range s {
		if r != utf8.RuneError && !unicode.IsPrint(r) || r == ' ' {
			gap = b.Len() > 0
			continue
		}
		need := utf8.RuneLen(r)
		if gap {
			need++
		}
		if b.Len()+need > limit {
			return cut(b.String(), limit-len(ellipsis)) + ellipsis
		}
		if gap {
			b.WriteByte(' ')
			gap = false
		}
		b.WriteRune(r)
	}
	return b.String()
}

// clean tells, of plain ASCII only, that nothing is to be done: nearly all that comes here is such.
func clean(s string, limit int) bool {
	gap := true
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' || s[i] == ' ' && gap {
			return false
		}
		gap = s[i] == ' '
	}
	return len(s) <= limit && (s == "" || !gap)
}

// cut shortens s to at most n bytes without splitting a character.
func cut(s string, n int) string {
	if n >= len(s) {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:max(n, 0)]
}
