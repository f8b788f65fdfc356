package importer

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// kind is the type of a value.
type kind int

const (
	null kind = iota
	boolean
	number
	text    // a string or a symbol
	pattern // a Ruby regular expression
	class   // the name of a Ruby class or constant
	list
	mapping
)

// value is a value from a source file: from YAML, or a Ruby literal.
type value struct {
	kind  kind
	at    location
	text  string // of a boolean, number, text, pattern (without slashes) or class
	flags string // of a pattern: any of i, m, x
	items []value
	pairs []pair // of a mapping, in source order; keys are unique
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

// set sets a key of a mapping. As in YAML and Ruby, the last value wins but keeps the position of the first.
func (v *value) set(p pair) {
	for i, old := range v.pairs {
		if old.key == p.key {
			v.pairs[i].value, v.pairs[i].at = p.value, p.at
			return
		}
	}
	v.pairs = append(v.pairs, p)
}

// number returns the value as a whole number.
func (v value) number() (int64, bool) {
	if v.kind != number {
		return 0, false
	}
	digits := strings.ReplaceAll(v.text, "_", "")
	n, err := strconv.ParseInt(digits, 0, 64)
	return n, err == nil
}

// maxSeconds limits durations: three years, longer than any real setting.
const maxSeconds = 1e8

// duration returns a number of units as a duration, rounded to the millisecond.
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

// describe returns the value as notes show it.
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
