package config

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Mistake is one thing that is wrong in a configuration, with its place and its mend.
type Mistake struct {
	File    string // as given to Load, or as reached by an include; "" when there is no file
	Line    int    // from 1; 0 when it concerns the whole file
	Key     string // such as clusters.webapp.vips[0].address, counted from 0; "" when it concerns the whole file
	Value   string // as TOML; "" when the key is missing
	Problem string
	Fix     string
}

// String is the mistake on one line: place, key, value, problem, fix.
func (m Mistake) String() string {
	var parts []string
	switch {
	case m.File != "" && m.Line > 0:
		parts = append(parts, m.File+":"+strconv.Itoa(m.Line))
	case m.File != "":
		parts = append(parts, m.File)
	}
	switch {
	case m.Key != "" && m.Value != "":
		parts = append(parts, m.Key+" = "+m.Value)
	case m.Key != "":
		parts = append(parts, m.Key)
	}
	for _, s := range []string{m.Problem, m.Fix} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Map(printable, strings.Join(parts, ": "))
}

// printable makes a space of what could break a line or a terminal.
func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return ' '
}

// Mistakes is all that is wrong in a configuration, sorted by file and line.
type Mistakes []Mistake

// Error gives one line for each mistake.
func (ms Mistakes) Error() string {
	lines := make([]string, len(ms))
	for i, m := range ms {
		lines[i] = m.String()
	}
	return strings.Join(lines, "\n")
}

// sorted returns the mistakes by file, line and key, each once.
func (ms Mistakes) sorted() Mistakes {
	out := slices.Clone(ms)
	slices.SortStableFunc(out, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Key, b.Key),
			cmp.Compare(a.Problem, b.Problem))
	})
	return slices.Compact(out)
}

// report collects mistakes while tables are walked. Of each key only the first mistake is kept: what follows
// from it (a port that is no number is out of range, too) would only distract.
type report struct {
	mistakes Mistakes
	faulty   map[string]bool // by file and key
}

func newReport() *report { return &report{faulty: map[string]bool{}} }

func (r *report) add(m Mistake) {
	id := m.File + "\x00" + m.Key
	if m.Key != "" && r.faulty[id] {
		return
	}
	r.faulty[id] = true
	r.mistakes = append(r.mistakes, m)
}

// literalMax is how many characters of a value are shown: enough to recognise it, and the mistake stays one line.
const literalMax = 60

// passwordInURL finds the password of a URL, which must not end up in a log.
var passwordInURL = regexp.MustCompile(`(://[^/@:\s]*:)[^/@\s]*@`)

// HidePasswords gives s without the passwords of URLs in it.
func HidePasswords(s string) string { return passwordInURL.ReplaceAllString(s, "${1}…@") }

// literal shows a decoded value as it could stand in the file.
func literal(v any) string {
	s := literalOf(v)
	if r := []rune(s); len(r) > literalMax {
		return string(r[:literalMax]) + "…"
	}
	return s
}

func literalOf(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return strconv.Quote(HidePasswords(v))
	case time.Time:
		switch v.Location().String() { // how the decoder tells TOML's kinds of time apart
		case "date-local":
			return v.Format(time.DateOnly)
		case "time-local":
			return v.Format(time.TimeOnly)
		}
		return v.Format(time.RFC3339)
	case float64:
		s := strconv.FormatFloat(v, 'g', -1, 64)
		if strings.ContainsAny(s, ".eIN") { // -Inf and NaN, too
			return s
		}
		return s + ".0"
	case map[string]any:
		return "{…}"
	case []any:
		if len(v) > literalMax {
			v = v[:literalMax]
		}
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = literalOf(e)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	default:
		return fmt.Sprint(v)
	}
}
