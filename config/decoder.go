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

// decoder is the strict walk over one table of a TOML tree. Each getter consumes its key; what nobody asked for is
// an unknown key. A value of a wrong type is a mistake, and the getter gives the default instead.
type decoder struct {
	doc    *document
	path   string // of the table; "" at the root
	values map[string]any
	asked  map[string]bool // the keys that a getter asked for, given or not
	report *report
}

func newDecoder(doc *document, path string, values map[string]any, r *report) *decoder {
	return &decoder{doc: doc, path: path, values: values, asked: map[string]bool{}, report: r}
}

// line is where the key at path stands, or else the table.
func (d *decoder) line(path string) int {
	if line, ok := d.doc.lines[path]; ok {
		return line
	}
	return d.doc.lines[d.path]
}

// place names the table for mistakes that stand elsewhere, such as "lb.toml:12".
func (d *decoder) place() string {
	return Mistake{File: d.doc.name, Line: d.doc.lines[d.path]}.String()
}

// mistake reports that key is wrong, given or missing.
func (d *decoder) mistake(key, problem, fix string) {
	d.mistakeAt(joinKey(d.path, key), d.values[key], problem, fix)
}

// mistakeAt reports that the value at a path in this table is wrong, such as an element of a list.
func (d *decoder) mistakeAt(path string, value any, problem, fix string) {
	d.report.add(Mistake{
		File: d.doc.name, Line: d.line(path), Key: path, Value: literal(value), Problem: problem, Fix: fix,
	})
}

// own reports what is wrong with the table as a whole.
func (d *decoder) own(problem, fix string) {
	d.report.add(Mistake{File: d.doc.name, Line: d.doc.lines[d.path], Key: d.path, Problem: problem, Fix: fix})
}

// missing reports that a required key is not given.
func (d *decoder) missing(key, fix string) { d.mistake(key, "is missing", fix) }

// required reports a key that is missing or empty.
func required(d *decoder, key, fix string) {
	if d.has(key) {
		d.mistake(key, "is empty", fix)
		return
	}
	d.missing(key, fix)
}

// faulty tells whether a mistake of key was reported.
func (d *decoder) faulty(key string) bool {
	return d.report.faulty[d.doc.name+"\x00"+joinKey(d.path, key)]
}

// has tells whether key is given, without consuming it.
func (d *decoder) has(key string) bool {
	_, ok := d.values[key]
	return ok
}

// names are the given keys in the order of the file.
func (d *decoder) names() []string {
	return slices.SortedFunc(maps.Keys(d.values), func(a, b string) int {
		return cmp.Or(cmp.Compare(d.line(joinKey(d.path, a)), d.line(joinKey(d.path, b))), cmp.Compare(a, b))
	})
}

// leftover gives a mistake for each key that nobody asked for.
func (d *decoder) leftover() Mistakes {
	var out Mistakes
	for _, key := range d.names() {
		if d.asked[key] {
			continue
		}
		path := joinKey(d.path, key)
		fix := unknownFix(key, slices.Collect(maps.Keys(d.asked)))
		table, name, named := strings.Cut(d.path, ".")
		if _, isTable := d.values[key].(map[string]any); isTable && named {
			fix = fmt.Sprintf(`if it belongs to a name with dots, put that in quotes: [%s."%s.%s"]`, table, name, key)
		}
		out = append(out, Mistake{
			File: d.doc.name, Line: d.line(path), Key: path, Value: literal(d.values[key]),
			Problem: "is an unknown key", Fix: fix,
		})
	}
	return out
}

// done reports the keys that nobody asked for.
func (d *decoder) done() {
	for _, m := range d.leftover() {
		d.report.add(m)
	}
}

// get consumes a key. A value that is no T is a mistake, for which fix shows how to write one.
func get[T any](d *decoder, key, kind, fix string) (T, bool) {
	d.asked[key] = true
	raw, given := d.values[key]
	v, ok := raw.(T)
	if given && !ok {
		d.mistake(key, "must be "+kind+", is "+kindOf(raw), fix)
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
	v, ok := get[int64](d, key, "a whole number", fmt.Sprintf("write one from %d to %d, without quotes", least, most))
	if !ok {
		return def
	}
	if v < least || v > most {
		d.mistake(key, fmt.Sprintf("must be %d to %d", least, most), "write a number in that range")
		return def
	}
	return v
}

func (d *decoder) float(key string, def float64) float64 {
	if v, ok := d.values[key].(int64); ok {
		d.asked[key] = true
		return float64(v)
	}
	v, ok := get[float64](d, key, "a number", "write it without quotes")
	if !ok {
		return def
	}
	if math.IsNaN(v) || math.IsInf(v, 0) {
		d.mistake(key, "must be a finite number", "write one such as 0.5")
		return def
	}
	return v
}

// duration reads a Go duration that is not negative. A bare number is refused, for its unit would be a guess.
func (d *decoder) duration(key string, def time.Duration) time.Duration {
	if n, ok := d.values[key].(int64); ok {
		d.asked[key] = true
		d.mistake(key, "has no unit", fmt.Sprintf(`write "%ds" for seconds, "%dms" for milliseconds`, n, n))
		return def
	}
	s, ok := get[string](d, key, "a duration", `write it as "2s", "500ms" or "1m30s"`)
	if !ok {
		return def
	}
	v, err := time.ParseDuration(s)
	switch {
	case err != nil:
		d.mistake(key, "is not a duration", `write it as "2s", "500ms" or "1m30s"`)
		return def
	case v < 0:
		d.mistake(key, "is negative", "write a duration of 0s or more")
		return def
	}
	return v
}

// strings reads a list of strings; elements of other types are mistakes and are left out.
func (d *decoder) strings(key string) []string {
	list, ok := get[[]any](d, key, "a list of strings", `write it as `+key+` = ["…", "…"]`)
	if !ok {
		return nil
	}
	out := make([]string, 0, len(list))
	for i, e := range list {
		s, ok := e.(string)
		if !ok {
			d.mistakeAt(joinIndex(joinKey(d.path, key), i), e, "must be a string, is "+kindOf(e), "write it in quotes")
			continue
		}
		out = append(out, s)
	}
	return out
}

// stringMap reads a table of strings; values of other types are mistakes and are left out.
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

// table consumes a key that holds a table.
func (d *decoder) table(key string) (*decoder, bool) {
	path := joinKey(d.path, key)
	values, ok := get[map[string]any](d, key, "a table", "write it as ["+path+"] with its keys below, or as { … }")
	if !ok {
		return nil, false
	}
	return newDecoder(d.doc, path, values, d.report), true
}

// tables consumes a key that holds a list of tables.
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
			d.mistakeAt(path, e, "must be a table, is "+kindOf(e), fix)
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
		return "a number with a fraction"
	case bool:
		return "true or false"
	case time.Time:
		return "a date"
	case []any:
		return "a list"
	case map[string]any:
		return "a table"
	default:
		return fmt.Sprintf("a %T", v)
	}
}
