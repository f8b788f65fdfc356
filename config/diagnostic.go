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

// Diagnostic is one error or warning about a configuration, with its location and a fix.
type Diagnostic struct {
	File    string // as passed to Load, or as included; "": no file
	Line    int    // from 1; 0: the whole file
	Key     string // such as clusters.webapp.vips[0].address, with indices from 0; "": the whole file
	Value   string // as TOML; "": the key is missing
	Problem string
	Fix     string
}

// String returns one line: location, key, value, problem, fix.
func (d Diagnostic) String() string {
	var parts []string
	switch {
	case d.File != "" && d.Line > 0:
		parts = append(parts, d.File+":"+strconv.Itoa(d.Line))
	case d.File != "":
		parts = append(parts, d.File)
	}
	switch {
	case d.Key != "" && d.Value != "":
		parts = append(parts, d.Key+" = "+d.Value)
	case d.Key != "":
		parts = append(parts, d.Key)
	}
	for _, s := range []string{d.Problem, d.Fix} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Map(printable, strings.Join(parts, ": "))
}

// printable replaces characters that could break the line or the terminal by a space.
func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return ' '
}

// Diagnostics are all errors of a configuration, sorted by file and line.
type Diagnostics []Diagnostic

// Error returns one line for each.
func (ds Diagnostics) Error() string {
	lines := make([]string, len(ds))
	for i, d := range ds {
		lines[i] = d.String()
	}
	return strings.Join(lines, "\n")
}

// sorted returns them by file, line and key, without duplicates.
func (ds Diagnostics) sorted() Diagnostics {
	out := slices.Clone(ds)
	slices.SortStableFunc(out, func(a, b Diagnostic) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Key, b.Key),
			cmp.Compare(a.Problem, b.Problem))
	})
	return slices.Compact(out)
}

// report collects errors, and separately warnings, while tables are read. It keeps the first error of each key: others are usually
// consequences, such as a port that is not a number and therefore out of range.
type report struct {
	diagnostics Diagnostics
	failed      map[string]bool // by file and key
	warnings    *report
}

func newReport() *report {
	return &report{failed: map[string]bool{}, warnings: &report{failed: map[string]bool{}}}
}

func (r *report) add(d Diagnostic) {
	id := d.File + "\x00" + d.Key
	if d.Key != "" && r.failed[id] {
		return
	}
	r.failed[id] = true
	r.diagnostics = append(r.diagnostics, d)
}

// maxLiteral is how many characters of a value an error shows: enough to recognise it.
const maxLiteral = 60

// passwordInURL matches the password in a URL, which must not appear in a log.
var passwordInURL = regexp.MustCompile(`(://[^/@:\s]*:)[^/@\s]*@`)

// HidePasswords replaces the passwords of URLs in s by "…".
func HidePasswords(s string) string { return passwordInURL.ReplaceAllString(s, "${1}…@") }

// literal formats a decoded value as TOML, shortened to maxLiteral.
func literal(v any) string {
	s := literalOf(v)
	if r := []rune(s); len(r) > maxLiteral {
		return string(r[:maxLiteral]) + "…"
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
		switch v.Location().String() { // the toml package's mark of a local date or time
		case "date-local":
			return v.Format(time.DateOnly)
		case "time-local":
			return v.Format(time.TimeOnly)
		}
		return v.Format(time.RFC3339)
	case float64:
		s := strconv.FormatFloat(v, 'g', -1, 64)
		if strings.ContainsAny(s, ".eIN") { // also -Inf and NaN
			return s
		}
		return s + ".0"
	case map[string]any:
		return "{…}"
	case []any:
		if len(v) > maxLiteral {
			v = v[:maxLiteral]
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
