package importer

import (
	"errors"
	"io"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/braintree/lb/config"
)

// These limit a YAML document after aliases are expanded: far above any real configuration, far below what a few nested aliases can
// expand to.
const (
	maxYAMLValues = 200_000
	maxYAMLDepth  = 50
)

// yamlReader converts YAML nodes to values.
type yamlReader struct {
	file  string
	count int
	notes *notes
}

// readYAML reads the first document of a file, as Ruby's YAML.load does.
func readYAML(file, source string, notes *notes) (value, error) {
	loader, err := yaml.NewLoader(strings.NewReader(source))
	if err != nil {
		return value{}, syntaxMistake(file, err)
	}
	var doc yaml.Node
	switch err := loader.Load(&doc); {
	case errors.Is(err, io.EOF):
		return value{at: location{file, 1, 1}}, nil
	case err != nil:
		return value{}, syntaxMistake(file, err)
	}
	r := &yamlReader{file: file, notes: notes}
	var more yaml.Node
	if err := loader.Load(&more); err == nil {
		notes.add(r.location(&more), "not converted: a second document starts here; the original reads only the first")
	}
	return r.value(&doc, 0)
}

// syntaxMistake reports a file that is not valid YAML.
func syntaxMistake(file string, err error) error {
	line, problem := 0, err.Error()
	var load *yaml.LoadError
	if errors.As(err, &load) {
		line, problem = load.Mark.Line, load.Message
	}
	return sourceMistake(file, line, "is not YAML: "+problem, "fix the syntax on this line or just before it")
}

func (r *yamlReader) location(n *yaml.Node) location { return location{r.file, n.Line, n.Line} }

// sizeMistake reports a document that exceeds the limits.
func (r *yamlReader) sizeMistake(n *yaml.Node) error {
	return sourceMistake(r.file, n.Line, "expands to too many values or levels", "check for aliases (*name) that refer to each other")
}

func (r *yamlReader) value(n *yaml.Node, depth int) (value, error) {
	if r.count++; r.count > maxYAMLValues || depth > maxYAMLDepth {
		return value{}, r.sizeMistake(n)
	}
	v := value{at: r.location(n)}
	switch n.Kind {
	case yaml.DocumentNode:
		if len(n.Content) == 0 {
			return v, nil
		}
		return r.value(n.Content[0], depth+1)
	case yaml.AliasNode:
		return r.value(n.Alias, depth+1)
	case yaml.SequenceNode:
		v.kind = list
		for _, c := range n.Content {
			item, err := r.value(c, depth+1)
			if err != nil {
				return v, err
			}
			v.items = append(v.items, item)
			v.at.end = max(v.at.end, item.at.end)
		}
	case yaml.MappingNode:
		return r.mapping(n, depth)
	default:
		v.kind, v.text = scalar(n)
		v.at.end += strings.Count(n.Value, "\n")
	}
	return v, nil
}

// mapping converts a mapping, including what its << keys merge in.
func (r *yamlReader) mapping(n *yaml.Node, depth int) (value, error) {
	v := value{kind: mapping, at: r.location(n)}
	var merged []value
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		item, err := r.value(n.Content[i+1], depth+1)
		if err != nil {
			return v, err
		}
		at := r.location(key)
		at.end = max(at.end, item.at.end)
		v.at.end = max(v.at.end, at.end)
		if key.ShortTag() == "!!merge" {
			merged = append(merged, item)
			merged = append(merged, item.items...)
			continue
		}
		// Keys may be written as Ruby symbols.
		name := strings.TrimPrefix(key.Value, ":")
		if _, twice := v.get(name); twice {
			r.notes.add(at, "duplicate key %s: the last value wins", name)
		}
		v.set(pair{name, at, item})
	}
	for _, m := range merged {
		for _, p := range m.pairs {
			if _, own := v.get(p.key); !own {
				v.set(p)
			}
		}
	}
	return v, nil
}

// scalar converts a scalar. Ruby's YAML reads yes, no, on and off as booleans, and :name as a symbol.
func scalar(n *yaml.Node) (kind, string) {
	switch n.ShortTag() {
	case "!!null":
		return null, ""
	case "!!bool":
		return boolean, strings.ToLower(n.Value)
	case "!!int", "!!float":
		return number, n.Value
	}
	if n.Style == 0 {
		switch strings.ToLower(n.Value) {
		case "yes", "on", "true":
			return boolean, "true"
		case "no", "off", "false":
			return boolean, "false"
		}
		return text, strings.TrimPrefix(n.Value, ":")
	}
	return text, n.Value
}

// typeMistake reports a value of the wrong type where no conversion is possible without it.
func typeMistake(v value, what string) config.Mistakes {
	return sourceMistake(v.at.file, v.at.line, "is "+v.describe()+", not "+what, "check that this is the original's configuration file")
}
