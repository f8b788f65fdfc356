package config

import (
	"reflect"
	"time"
)

// Section is a table of the file whose keys somebody else decodes: a check's own options. It remembers where
// each key stands, so that a mistake found there is reported like any other. Each getter consumes its key;
// Err reports the keys that nobody asked for. A section is not for several goroutines at once. The zero Section is
// an empty table whose mistakes nobody could see: Mistake panics there, use NewSection.
type Section struct {
	d *decoder
}

// NewSection makes a section from Go values, as in tests of what decodes one: string, bool, int, int64, float64,
// time.Duration, []string, []any, map[string]string and map[string]any.
func NewSection(values map[string]any) Section {
	tree := make(map[string]any, len(values))
	for k, v := range values {
		if v, ok := v.(time.Duration); ok {
			tree[k] = v.String()
			continue
		}
		tree[k] = plain(v)
	}
	return Section{newDecoder(&document{tree: tree}, "", tree, newReport())}
}

// String returns the value of key, or def when it is absent. A wrong type is a mistake and gives def.
func (s Section) String(key, def string) string { return s.decoder().str(key, def) }

// Int returns the value of key, or def; outside least to most is a mistake.
func (s Section) Int(key string, def, least, most int) int {
	return int(s.decoder().integer(key, int64(def), int64(least), int64(most)))
}

// Float returns the value of key, or def. A whole number is fine, NaN and infinity are mistakes.
func (s Section) Float(key string, def float64) float64 { return s.decoder().float(key, def) }

// Bool returns the value of key, or def.
func (s Section) Bool(key string, def bool) bool { return s.decoder().boolean(key, def) }

// Duration returns the value of key, such as "2s", or def. A negative one is a mistake, 0 is not.
func (s Section) Duration(key string, def time.Duration) time.Duration {
	return s.decoder().duration(key, def)
}

// Strings returns the list of strings at key, or nil.
func (s Section) Strings(key string) []string { return s.decoder().strings(key) }

// StringMap returns the table of strings at key, or nil.
func (s Section) StringMap(key string) map[string]string { return s.decoder().stringMap(key) }

// Has tells whether the file gives key. It consumes nothing.
func (s Section) Has(key string) bool { return s.decoder().has(key) }

// Mistake records that the value of key (or its absence) is wrong: what is the matter, and the fix. Of a key that
// has a mistake already, such as a wrong type, no second one is kept.
func (s Section) Mistake(key, problem, fix string) {
	if s.d == nil {
		panic("config: a mistake in the zero Section: make it with NewSection")
	}
	s.d.mistake(key, problem, fix)
}

// Err reports every mistake made so far in this section as Mistakes, unknown keys included; nil when there is none.
// Where the type of a check is a mistake, its other keys are not judged: they belong to nobody.
func (s Section) Err() error {
	if s.d == nil {
		return nil
	}
	ms := s.d.report.mistakes
	if !s.d.faulty("type") {
		ms = append(ms[:len(ms):len(ms)], s.d.leftover()...)
	}
	if len(ms) == 0 {
		return nil
	}
	return ms.sorted()
}

// Equal tells whether both sections give the same keys the same values, wherever they stand. A reload uses it to let
// what did not change run on.
func (s Section) Equal(o Section) bool {
	a, b := s.decoder().values, o.decoder().values
	return len(a) == 0 && len(b) == 0 || reflect.DeepEqual(a, b)
}

// decoder is the walk behind the section, or one over an empty table.
func (s Section) decoder() *decoder {
	if s.d != nil {
		return s.d
	}
	return newDecoder(&document{}, "", nil, newReport())
}
