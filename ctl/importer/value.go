package importer

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// kind is what a value of a source is.
type kind int

const (
	null kind = iota
	boolean
	number
	text    // a string or a symbol
	pattern // a regular expression of Ruby's
	class   // the name of a class or a constant
	list
	mapping
)

// value is a value of a source file: of YAML, or of the part of Ruby that can be read without running it.
type value struct {
	kind  kind
	at    location
	text  string // of a boolean, number, text, pattern (without its slashes) or class
	flags string // of a pattern: of i, m, x
	items []value
	pairs []pair // of a mapping, in the order of the source; no key stands twice
}

// pair is one entry of a mapping.
type pair struct {
	key   string
	at    location
	value value
}

// get returns the value of a mapping's key.
func (v value) get(key string) (value, bool) {
	for _, p := range v.pairs {
		if p.key == key {
			return p.value, true
		}
	}
	return value{}, false
}

// set gives a mapping's key a value. As in YAML's and Ruby's own maps, the last one counts, in the place of the first.
func (v *value) set(p pair) {
	for i, old := range v.pairs {
		if old.key == p.key {
			v.pairs[i].value, v.pairs[i].at = p.value, p.at
			return
		}
	}
	v.pairs = append(v.pairs, p)
}

// number reads a whole number.
func (v value) number() (int64, bool) {
	if v.kind != number {
		return 0, false
	}
	digits := strings.ReplaceAll(v.text, "_", "")
	n, err := strconv.ParseInt(digits, 0, 64)
	return n, err == nil
}

// maxSeconds is more than any time that a configuration means: three years.
const maxSeconds = 1e8

// times reads a number of units as a time, rounded to the millisecond.
func (v value) duration(unit time.Duration) (time.Duration, bool) {
	if v.kind != number {
		return 0, false
	}
	f, err := strconv.ParseFloat(strings.ReplaceAll(v.text, "_", ""), 64)
	if n, whole := v.number(); whole {
		f, err = float64(n), nil
	}
	if err != nil || math.IsNaN(f) || math.Abs(f)*unit.Seconds() > maxSeconds {
		return 0, false
	}
	return time.Duration(f * float64(unit)).Round(time.Millisecond), true
}

// shown is the value as a note shows it.
func (v value) describe() string {
	switch v.kind {
	case null:
		return "nil"
	case text:
		return strconv.Quote(v.text)
	case pattern:
		return "/" + v.text + "/" + v.flags
	case list:
		return "a list"
	case mapping:
		return "a table"
	default:
		return v.text
	}
}
