package config

import "time"

// Section is a table of the file whose keys somebody else decodes: a check's own options. It remembers where
// each key stands, so that a mistake found there is reported like any other. Each getter consumes its key;
// Leftover reports the keys that nobody asked for.
type Section struct {
	d *decoder
}

// decoder is the strict walk over one table of a TOML tree.
type decoder struct{}

// String returns the value of key, or def when it is absent. A wrong type is a mistake and gives def.
func (s Section) String(key, def string) string { panic("config: not built") }

// Int returns the value of key, or def; outside min..max is a mistake.
func (s Section) Int(key string, def, min, max int) int { panic("config: not built") }

// Float returns the value of key, or def.
func (s Section) Float(key string, def float64) float64 { panic("config: not built") }

// Bool returns the value of key, or def.
func (s Section) Bool(key string, def bool) bool { panic("config: not built") }

// Duration returns the value of key, such as "2s", or def.
func (s Section) Duration(key string, def time.Duration) time.Duration { panic("config: not built") }

// Strings returns the list of strings at key, or nil.
func (s Section) Strings(key string) []string { panic("config: not built") }

// StringMap returns the table of strings at key, or nil.
func (s Section) StringMap(key string) map[string]string { panic("config: not built") }

// Has tells whether the file gives key.
func (s Section) Has(key string) bool { panic("config: not built") }

// Mistake records that the value of key (or its absence) is wrong: what is the matter, and the fix.
func (s Section) Mistake(key, problem, fix string) { panic("config: not built") }

// NewSection makes a section from Go values, as in tests of what decodes one.
func NewSection(values map[string]any) Section { panic("config: not built") }

// Err reports every mistake made so far in this section, unknown keys included; nil when there is none.
func (s Section) Err() error { panic("config: not built") }
