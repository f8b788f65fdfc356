package config

import (
	"reflect"
	"time"
)

// Options are the options of a check: the keys of its table that the check's own package decodes. Errors found there are reported with
// their location, like all others. Each getter consumes its key; Err reports the keys that no getter consumed. Options are not safe for
// concurrent use. The zero value is an empty table without a report, in which Invalid panics: use NewOptions.
type Options struct {
	d *decoder
}

// NewOptions makes Options from Go values, for tests: string, bool, int, int64, float64, time.Duration, []string, []any,
// map[string]string and map[string]any.
func NewOptions(values map[string]any) Options {
	tree := make(map[string]any, len(values))
	for k, v := range values {
		if v, ok := v.(time.Duration); ok {
			tree[k] = v.String()
			continue
		}
		tree[k] = normalize(v)
	}
	return Options{newDecoder(&document{tree: tree}, "", tree, newReport())}
}

// String returns the value of key, or def if key is absent. A value of another type is an error and gives def; so with the other getters.
func (o Options) String(key, def string) string { return o.decoder().str(key, def) }

// Int returns the value of key, or def. A value outside least to most is an error.
func (o Options) Int(key string, def, least, most int) int {
	return int(o.decoder().integer(key, int64(def), int64(least), int64(most)))
}

// Float returns the value of key, or def. A whole number is accepted; NaN and infinity are errors.
func (o Options) Float(key string, def float64) float64 { return o.decoder().float(key, def) }

// Bool returns the value of key, or def.
func (o Options) Bool(key string, def bool) bool { return o.decoder().boolean(key, def) }

// Duration returns the value of key, such as "2s", or def. A negative value is an error, 0 is not.
func (o Options) Duration(key string, def time.Duration) time.Duration {
	return o.decoder().duration(key, def)
}

// Strings returns the list of strings at key, or nil.
func (o Options) Strings(key string) []string { return o.decoder().strings(key) }

// StringMap returns the table of strings at key, or nil.
func (o Options) StringMap(key string) map[string]string { return o.decoder().stringMap(key) }

// Has reports whether the table has key. It does not consume key.
func (o Options) Has(key string) bool { return o.decoder().has(key) }

// Invalid reports that the value of key, or its absence, is wrong. Only the first error of a key is kept.
func (o Options) Invalid(key, problem, fix string) {
	if o.d == nil {
		panic("config: error in the zero Options: use NewOptions")
	}
	o.d.invalid(key, problem, fix)
}

// Err returns all errors so far as Diagnostics, including unknown keys; nil if there are none. If the check's type is wrong, it leaves out
// unknown keys: the valid keys are then not known.
func (o Options) Err() error {
	if o.d == nil {
		return nil
	}
	all := o.d.report.diagnostics
	if !o.d.failed("type") {
		all = append(all[:len(all):len(all)], o.d.unknownKeys()...)
	}
	if len(all) == 0 {
		return nil
	}
	return all.sorted()
}

// Equal reports whether both tables have the same keys and values, at any location. A reload uses it to keep unchanged checks running.
func (o Options) Equal(other Options) bool {
	a, b := o.decoder().values, other.decoder().values
	return len(a) == 0 && len(b) == 0 || reflect.DeepEqual(a, b)
}

// decoder returns the decoder of the table, or one of an empty table.
func (o Options) decoder() *decoder {
	if o.d != nil {
		return o.d
	}
	return newDecoder(&document{}, "", nil, newReport())
}
