// Package salvage reads what it can from a configuration that lb may refuse: where the daemons listen, and which mark a cluster has.
//
// An operator must be able to force a service down, and a cluster manager to stop a cluster, also while somebody is halfway
// through editing the file. So mistakes elsewhere in it, unknown keys and broken includes do not matter here.
package salvage

import (
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/BurntSushi/toml"

	"github.com/braintree/lb/config"
)

// Found is what a configuration says as far as it can be read.
type Found struct {
	AgentControl    string            // "" when it is not given
	BalancerControl string            // "" when it is not given
	Marks           map[string]uint32 // of each cluster, by name
	Relays          map[string]uint32 // the marks of the relays of those that have one
}

// Read reads the file at path and the files that it includes. The error is about that file alone: it cannot be read, or is no
// TOML (a toml.ParseError). Includes that cannot be read are left out.
func Read(path string) (Found, error) {
	found := Found{Marks: map[string]uint32{}, Relays: map[string]uint32{}}
	tree, err := decode(path)
	if err != nil {
		return found, err
	}
	found.take(tree)
	for _, pattern := range list(tree["include"]) {
		name, ok := pattern.(string)
		if !ok {
			continue
		}
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(path), name)
		}
		files, _ := filepath.Glob(name) // a bad pattern matches nothing
		slices.Sort(files)
		for _, file := range files {
			if included, err := decode(file); err == nil {
				found.take(included)
			}
		}
	}
	return found, nil
}

func decode(path string) (map[string]any, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	tree := map[string]any{}
	_, err = toml.Decode(string(text), &tree)
	return tree, err
}

// take adds what one file says. What an earlier file said stays.
func (f *Found) take(tree map[string]any) {
	if f.AgentControl == "" {
		f.AgentControl, _ = table(tree["agent"])["control"].(string)
	}
	if f.BalancerControl == "" {
		f.BalancerControl, _ = table(tree["balancer"])["control"].(string)
	}
	for name, cluster := range table(tree["clusters"]) {
		mark, ok := table(cluster)["fwmark"].(int64)
		if _, had := f.Marks[name]; ok && !had && mark > 0 && mark <= math.MaxUint32 {
			f.Marks[name] = uint32(mark)
			f.takeRelay(name, mark, table(cluster))
		}
	}
}

// takeRelay adds the mark of a cluster's relay, where it has one.
func (f *Found) takeRelay(name string, mark int64, cluster map[string]any) {
	offset, given := cluster["relay_offset"].(int64)
	if !given {
		offset = config.DefaultRelayOffset
	}
	if enabled, _ := cluster["relay"].(bool); enabled && offset > 0 && mark <= math.MaxUint32-offset {
		f.Relays[name] = uint32(mark + offset)
	}
}

// table returns v as a table; nil, which reads as empty, when it is none.
func table(v any) map[string]any {
	t, _ := v.(map[string]any)
	return t
}

// list returns v as a list; nil when it is none.
func list(v any) []any {
	l, _ := v.([]any)
	return l
}
