// Package salvage reads the daemons' control sockets and the clusters' marks from a configuration that may have errors.
//
// An operator must be able to force a service down, and a cluster manager to stop a cluster, even if the file is being edited. So errors
// elsewhere, unknown keys and broken includes do not matter.
package salvage

import (
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/BurntSushi/toml"

	"github.com/braintree/lb/config"
)

// Found is what could be read.
type Found struct {
	AgentControl    string            // "": not set
	BalancerControl string            // "": not set
	Marks           map[string]uint32 // of each cluster, by name
	Relays          map[string]uint32 // marks of the relays, by the cluster's name
}

// Read reads the file at path and the files that it includes. The error concerns the file itself: it cannot be read, or it is not TOML (a
// toml.ParseError). Unreadable includes are skipped.
func Read(path string) (Found, error) {
	found := Found{Marks: map[string]uint32{}, Relays: map[string]uint32{}}
	tree, err := decode(path)
	if err != nil {
		return found, err
	}
	found.merge(tree)
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
				found.merge(included)
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

// merge adds one file. Earlier files take precedence.
func (f *Found) merge(tree map[string]any) {
	if f.AgentControl == "" {
		f.AgentControl, _ = table(tree["agent"])["control"].(string)
	}
	if f.BalancerControl == "" {
		f.BalancerControl, _ = table(tree["balancer"])["control"].(string)
	}
	for name, cluster := range table(tree["clusters"]) {
		mark, ok := table(cluster)["fwmark"].(int64)
		if _, known := f.Marks[name]; ok && !known && mark > 0 && mark <= math.MaxUint32 {
			f.Marks[name] = uint32(mark)
			f.mergeRelay(name, mark, table(cluster))
		}
	}
}

// mergeRelay adds the mark of a cluster's relay, if it has one.
func (f *Found) mergeRelay(name string, mark int64, cluster map[string]any) {
	offset, set := cluster["relay_offset"].(int64)
	if !set {
		offset = config.DefaultRelayOffset
	}
	if enabled, _ := cluster["relay"].(bool); enabled && offset > 0 && mark <= math.MaxUint32-offset {
		f.Relays[name] = uint32(mark + offset)
	}
}

// table returns v as a table; nil if it is not one.
func table(v any) map[string]any {
	t, _ := v.(map[string]any)
	return t
}

// list returns v as a list; nil if it is not one.
func list(v any) []any {
	l, _ := v.([]any)
	return l
}
