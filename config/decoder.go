package config

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// decoder reads one table of a TOML tree strictly. Each getter consumes its key; keys that no getter consumed are unknown keys. A value
// of the wrong type is an error, and the getter returns the default.
type decoder struct {
	doc      *document
	path     string // of the table; "" at the root
	values   map[string]any
	consumed map[string]bool // the keys that a getter read, present or not
	report   *report
}

func newDecoder(doc *document, path string, values map[string]any, r *report) *decoder {
	return &decoder{doc: doc, path: path, values: values, consumed: map[string]bool{}, report: r}
}

// line returns the line of the key at path or, if the file does not have it, of the table.
func (d *decoder) line(path string) int {
	if line, ok := d.doc.lines[path]; ok {
		return line
	}
	return d.doc.lines[d.path]
}

// location returns the location of the table, such as "lb.toml:12", for errors elsewhere that refer to it.
func (d *decoder) location() string {
	return Diagnostic{File: d.doc.name, Line: d.doc.lines[d.path]}.String()
}

// invalid reports that the value of key is wrong, or that key is missing.
func (d *decoder) invalid(key, problem, fix string) {
	d.invalidAt(joinKey(d.path, key), d.values[key], problem, fix)
}

// invalidAt reports that the value at a path in this table is wrong, such as an element of a list.
func (d *decoder) invalidAt(path string, value any, problem, fix string) {
	d.report.add(Diagnostic{
		File: d.doc.name, Line: d.line(path), Key: path, Value: literal(value), Problem: problem, Fix: fix,
	})
}

// invalidTable reports that the table as a whole is wrong.
func (d *decoder) invalidTable(problem, fix string) {
	d.report.add(Diagnostic{File: d.doc.name, Line: d.doc.lines[d.path], Key: d.path, Problem: problem, Fix: fix})
}

// missing reports that a required key is missing.
func (d *decoder) missing(key, fix string) { d.invalid(key, "is missing", fix) }

// required reports a key that is missing or empty.
func required(d *decoder, key, fix string) {
	if d.has(key) {
		d.invalid(key, "is empty", fix)
		return
	}
	d.missing(key, fix)
}

// requireValid reports a key that is missing, empty, or wrong in the way that problem says.
func requireValid(d *decoder, key, value, problem, fix string) {
	if value == "" {
		required(d, key, fix)
		return
	}
	d.invalid(key, problem, fix)
}

// failed reports whether an error of key was reported.
func (d *decoder) failed(key string) bool {
	return d.report.failed[d.doc.name+"\x00"+joinKey(d.path, key)]
}

// has reports whether the table has key, without consuming it.
func (d *decoder) has(key string) bool {
	_, ok := d.values[key]
	return ok
}

// names returns the keys of the table in the order of the file.
func (d *decoder) names() []string {
	return slices.SortedFunc(maps.Keys(d.values), func(a, b string) int {
		return cmp.Or(cmp.Compare(d.line(joinKey(d.path, a)), d.line(joinKey(d.path, b))), cmp.Compare(a, b))
	})
}

// unknownKeys returns an error for each key that no getter consumed.
func (d *decoder) unknownKeys() Diagnostics {
	var out Diagnostics
	for _, key := range d.names() {
		if d.consumed[key] {
			continue
		}
		path := joinKey(d.path, key)
		fix := unknownKeyFix(key, slices.Collect(maps.Keys(d.consumed)))
		table, name, named := strings.Cut(d.path, ".")
		if _, isTable := d.values[key].(map[string]any); isTable && named {
			fix = fmt.Sprintf(`put a name with dots in quotes: [%s."%s.%s"]`, table, name, key)
		}
		out = append(out, Diagnostic{
			File: d.doc.name, Line: d.line(path), Key: path, Value: literal(d.values[key]),
			Problem: "is an unknown key", Fix: fix,
		})
	}
	return out
}

// done reports the keys that no getter consumed.
func (d *decoder) done() {
	for _, m := range d.unknownKeys() {
		d.report.add(m)
	}
}

// get consumes a key. A value of another type than T is an error; kind names T.
func get[T any](d *decoder, key, kind, fix string) (T, bool) {
	d.consumed[key] = true
	raw, given := d.values[key]
	v, ok := raw.(T)
	if given && !ok {
		d.invalid(key, "must be "+kind+", not "+kindOf(raw), fix)
	}
	return v, ok
}

func (d *decoder) str(key, def string) string {
	if v, ok := get[string](d, key, "a string", `write it in quotes: `+key+` = "…"`); ok {
		return v
	}
	return def
}

func (d *decoder) boolean(key string, def bool) bool {
	if v, ok := get[bool](d, key, "true or false", "write it without quotes"); ok {
		return v
	}
	return def
}

func (d *decoder) integer(key string, def, least, most int64) int64 {
	v, ok := get[int64](d, key, "a whole number", fmt.Sprintf("use one from %d to %d, without quotes", least, most))
	if !ok {
		return def
	}
	if v < least || v > most {
		d.invalid(key, fmt.Sprintf("must be %d to %d", least, most), "use a number in that range")
		return def
	}
	return v
}

func (d *decoder) float(key string, def float64) float64 {
	if v, ok := d.values[key].(int64); ok {
		d.consumed[key] = true
		return float64(v)
	}
	v, ok := get[float64](d, key, "a number", "write it without quotes")
	if !ok {
		return def
	}
	if math.IsNaN(v) || math.IsInf(v, 0) {
		d.invalid(key, "must be a finite number", "use a number such as 0.5")
		return def
	}
	return v
}

// duration reads a Go duration of 0 or more. A number without a unit is an error, because lb would have to guess the unit.
func (d *decoder) duration(key string, def time.Duration) time.Duration {
	if n, ok := d.values[key].(int64); ok {
		d.consumed[key] = true
		d.invalid(key, "has no unit", fmt.Sprintf(`use "%ds" for seconds, "%dms" for milliseconds`, n, n))
		return def
	}
	s, ok := get[string](d, key, "a duration", `use a form such as "2s", "500ms" or "1m30s"`)
	if !ok {
		return def
	}
	v, err := time.ParseDuration(s)
	switch {
	case err != nil:
		d.invalid(key, "is not a duration", `use a form such as "2s", "500ms" or "1m30s"`)
		return def
	case v < 0:
		d.invalid(key, "is negative", "use a duration of 0s or more")
		return def
	}
	return v
}

// strings reads a list of strings. Elements of other types are errors and left out.
func (d *decoder) strings(key string) []string {
	list, ok := get[[]any](d, key, "a list of strings", `write it as `+key+` = ["…", "…"]`)
	if !ok {
		return nil
	}
	out := make([]string, 0, len(list))
	for i, e := range list {
		s, ok := e.(string)
		if !ok {
			d.invalidAt(joinIndex(joinKey(d.path, key), i), e, "must be a string, not "+kindOf(e), "write it in quotes")
			continue
		}
		out = append(out, s)
	}
	return out
}

// stringMap reads a table of strings. Values of other types are errors and left out.
func (d *decoder) stringMap(key string) map[string]string {
	t, ok := d.table(key)
	if !ok {
		return nil
	}
	out := make(map[string]string, len(t.values))
	for _, k := range t.names() {
		if v, ok := get[string](t, k, "a string", "write it in quotes"); ok {
			out[k] = v
		}
	}
	return out
}

// table consumes a key with a table as its value.
func (d *decoder) table(key string) (*decoder, bool) {
	path := joinKey(d.path, key)
	values, ok := get[map[string]any](d, key, "a table", "write it as ["+path+"] with its keys below, or as { … }")
	if !ok {
		return nil, false
	}
	return newDecoder(d.doc, path, values, d.report), true
}

// tables consumes a key with a list of tables as its value.
func (d *decoder) tables(key string) []*decoder {
	fix := "write it as " + key + " = [ { … }, { … } ]"
	list, ok := get[[]any](d, key, "a list of tables", fix)
	if !ok {
		return nil
	}
	var out []*decoder
	for i, e := range list {
		path := joinIndex(joinKey(d.path, key), i)
		values, ok := e.(map[string]any)
		if !ok {
			d.invalidAt(path, e, "must be a table, not "+kindOf(e), fix)
			continue
		}
		out = append(out, newDecoder(d.doc, path, values, d.report))
	}
	return out
}

// kindOf names the type of a decoded value.
func kindOf(v any) string {
	switch v.(type) {
	case string:
		return "a string"
	case int64:
		return "a whole number"
	case float64:
		return "a decimal number"
	case bool:
		return "a boolean"
	case time.Time:
		return "a date or time"
	case []any:
		return "a list"
	case map[string]any:
		return "a table"
	default:
		return fmt.Sprintf("a %T", v)
	}
}
