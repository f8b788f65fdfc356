// Package sanitize turns text from outside (reasons, responses, errors, script output) into one short, printable line.
package sanitize

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Line returns s as one line of valid UTF-8, at most limit bytes long. Runs of unprintable characters and spaces (line
// ends, terminal escapes, direction marks) become one space, and invalid UTF-8 becomes the replacement character. A
// truncated line ends with "…".
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

// isClean reports whether Line would return s unchanged. It recognises plain ASCII only, which nearly all input is.
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

// truncate shortens s to at most n bytes without splitting a character.
func truncate(s string, n int) string {
	if n >= len(s) {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:max(n, 0)]
}
