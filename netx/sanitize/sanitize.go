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
	if isClean(s, limit) {
		return s
	}
	const ellipsis = "…"
	var b strings.Builder
	pendingSpace := false
	for _, r := range s {
		if r != utf8.RuneError && !unicode.IsPrint(r) || r == ' ' {
			pendingSpace = b.Len() > 0
			continue
		}
		size := utf8.RuneLen(r)
		if pendingSpace {
			size++
		}
		if b.Len()+size > limit {
			return truncate(b.String(), limit-len(ellipsis)) + ellipsis
		}
		if pendingSpace {
			b.WriteByte(' ')
			pendingSpace = false
		}
		b.WriteRune(r)
	}
	return b.String()
}

// clean tells, of plain ASCII only, that nothing is to be done: nearly all that comes here is such.
func isClean(s string, limit int) bool {
	previousSpace := true
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' || s[i] == ' ' && previousSpace {
			return false
		}
		previousSpace = s[i] == ' '
	}
	return len(s) <= limit && (s == "" || !previousSpace)
}

// cut shortens s to at most n bytes without splitting a character.
func truncate(s string, n int) string {
	if n >= len(s) {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:max(n, 0)]
}
