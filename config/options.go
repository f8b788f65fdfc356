package config

import (
	"reflect"
	"time"
)

// Section is a table that another package decodes: the options of a check. Errors found there are reported with their location like all others. Each
// getter consumes its key; Err reports the keys that no getter consumed. A Section is not safe for concurrent use. The zero Section is an empty
// table without a report: Mistake panics. Use NewSection.
type Section struct {
	d *decoder
}

// NewSection makes a Section from Go values, for tests: string, bool, int, int64, float64, time.Duration, []string, []any, map[string]string and
// map[string]any.
func NewSection(values map[string]any) Section {
	tree := make(map[string]any, len(values))
	for k, v := range values {
		if v, ok := v.(time.Duration); ok {
			tree[k] = v.String()
			continue
		}
		tree[k] = normalize(v)
	}
	return Section{newDecoder(&document{tree: tree}, "", tree, newReport())}
}

// String returns the value of key, or def if key is absent. A value of another type is an error and gives def; so with the other getters.
func (s Section) String(key, def string) string { return s.decoder().str(key, def) }

// Int returns the value of key, or def. A value outside least to most is an error.
func (s Section) Int(key string, def, least, most int) int {
	return int(s.decoder().integer(key, int64(def), int64(least), int64(most)))
}

// Float returns the value of key, or def. A whole number is accepted; NaN and infinity are errors.
func (s Section) Float(key string, def float64) float64 { return s.decoder().float(key, def) }

// Bool returns the value of key, or def.
func (s Section) Bool(key string, def bool) bool { return s.decoder().boolean(key, def) }

// Duration returns the value of key, such as "2s", or def. A negative value is an error, 0 is not.
func (s Section) Duration(key string, def time.Duration) time.Duration {
	return s.decoder().duration(key, def)
}

// Strings returns the list of strings at key, or nil.
func (s Section) Strings(key string) []string { return s.decoder().strings(key) }

// StringMap returns the table of strings at key, or nil.
func (s Section) StringMap(key string) map[string]string { return s.decoder().stringMap(key) }

// Has reports whether the table has key. It does not consume key.
func (s Section) Has(key string) bool { return s.decoder().has(key) }

// Mistake reports that the value of key, or its absence, is wrong. Only the first error of a key is kept.
func (s Section) Mistake(key, problem, fix string) {
	if s.d == nil {
		panic("config: error in the zero Section: use NewSection")
	}
	s.d.invalid(key, problem, fix)
}

// Err returns all errors so far as Mistakes, including unknown keys; nil if there are none. If the check's type is wrong, it leaves out unknown keys: the
// valid keys are then not known.
func (s Section) Err() error {
	if s.d == nil {
		return nil
	}
	ms := s.d.report.mistakes
	if !s.d.failed("type") {
		ms = append(ms[:len(ms):len(ms)], s.d.unknownKeys()...)
	}
	if len(ms) == 0 {
		return nil
	}
	return ms.sorted()
}

// Equal reports whether both tables have the same keys and values, at any location. A reload uses it to keep unchanged checks running.
func (s Section) Equal(o Section) bool {
	a, b := s.decoder().values, o.decoder().values
	return len(a) == 0 && len(b) == 0 || reflect.DeepEqual(a, b)
}

// decoder returns the decoder of the table, or one of an empty table.
func (s Section) decoder() *decoder {
	if s.d != nil {
		return s.d
	}
	return newDecoder(&document{}, "", nil, newReport())
}
