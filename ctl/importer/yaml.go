package importer

import (
	"errors"
	"io"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/braintree/lb/config"
)

// The bounds of a YAML document when its aliases are written out: far above any configuration, far below what a
// few lines that refer to each other can blow up to.
const (
	yamlValuesMax  = 200_000
	yamlNestingMax = 50
)

// yamlReader makes values of YAML's nodes.
type yamlReader struct {
	file  string
	count int
	notes *notes
}

// readYAML reads the first document of a file, as Ruby's YAML does.
func readYAML(file, source string, notes *notes) (value, error) {
	loader, err := yaml.NewLoader(strings.NewReader(source))
	if err != nil {
		return value{}, notYAML(file, err)
	}
	var doc yaml.Node
	switch err := loader.Load(&doc); {
	case errors.Is(err, io.EOF):
		return value{at: place{file, 1, 1}}, nil
	case err != nil:
		return value{}, notYAML(file, err)
	}
	r := &yamlReader{file: file, notes: notes}
	var more yaml.Node
	if err := loader.Load(&more); err == nil {
		notes.add(r.place(&more), "a second document begins here: the original reads the first one alone, and so does this")
	}
	return r.value(&doc, 0)
}

// notYAML is the mistake of a file that is none.
func notYAML(file string, err error) error {
	line, problem := 0, err.Error()
	var load *yaml.LoadError
	if errors.As(err, &load) {
		line, problem = load.Mark.Line, load.Message
	}
	return mistake(file, line, "is not YAML: "+problem, "correct the syntax there or just before it")
}

func (r *yamlReader) place(n *yaml.Node) place { return place{r.file, n.Line, n.Line} }

// tooMuch is the mistake of a document that is beyond the bounds.
func (r *yamlReader) tooMuch(n *yaml.Node) error {
	return mistake(r.file, n.Line, "holds more than a configuration can mean", "look for aliases (*name) that refer to each other")
}

func (r *yamlReader) value(n *yaml.Node, depth int) (value, error) {
	if r.count++; r.count > yamlValuesMax || depth > yamlNestingMax {
		return value{}, r.tooMuch(n)
	}
	v := value{at: r.place(n)}
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

// mapping reads a table, with what `<<` merges into it.
func (r *yamlReader) mapping(n *yaml.Node, depth int) (value, error) {
	v := value{kind: mapping, at: r.place(n)}
	var merged []value
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		item, err := r.value(n.Content[i+1], depth+1)
		if err != nil {
			return v, err
		}
		at := r.place(key)
		at.end = max(at.end, item.at.end)
		v.at.end = max(v.at.end, at.end)
		if key.ShortTag() == "!!merge" {
			merged = append(merged, item)
			merged = append(merged, item.items...)
			continue
		}
		// Ruby's configuration may write its keys as symbols.
		name := strings.TrimPrefix(key.Value, ":")
		if _, twice := v.get(name); twice {
			r.notes.add(at, "%s stands here a second time: the last one counts", name)
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

// scalar reads a single value. Ruby's YAML takes yes, no, on and off for booleans, and :name for a symbol.
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

// expected is the mistake of a value that is not what the file needs there to be read at all.
func expected(v value, what string) config.Diagnostics {
	return mistake(v.at.file, v.at.line, "is "+v.shown()+", not "+what, "name a configuration of the original")
}
