package config

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/BurntSushi/toml"
)

// document is one file of a configuration, parsed.
type document struct {
	name  string // path of the file, as mistakes show it
	text  string
	tree  map[string]any // of string, int64, float64, bool, time.Time, []any and map[string]any
	lines map[string]int // line of each key's path
}

// readDocument reads and parses the file at path. When it cannot, the mistake says why.
func readDocument(path string) (*document, *Mistake) {
	file, err := os.Open(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer file.Close() // it is only read
	text, err := io.ReadAll(io.LimitReader(file, sizeMax+1))
	if err != nil {
		return nil, unreadable(path, err)
	}
	if len(text) > sizeMax {
		return nil, &Mistake{File: path, Problem: "is larger than 16 MiB", Fix: "name a configuration, this can be none"}
	}
	return parseDocument(path, string(text))
}

// sizeMax bounds the size of a file: room for a hundred thousand nodes, and a path that names a disk does no harm.
const sizeMax = 16 << 20

// unreadable is the mistake of a file or folder that cannot be read.
func unreadable(path string, err error) *Mistake {
	fix := "look at the path and at the file system"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		fix = "correct the path, or put a configuration there"
	case errors.Is(err, fs.ErrPermission):
		fix = "let the user that lb runs as read it"
	case errors.Is(err, syscall.EISDIR):
		fix = `name a file; a pattern such as "conf.d/*.toml" includes what is in a folder`
	}
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err // the path stands in front already
	}
	return &Mistake{File: path, Problem: "cannot be read: " + err.Error(), Fix: fix}
}

// parseDocument parses the text of the file called name.
func parseDocument(name, text string) (*document, *Mistake) {
	lines, line, err := positions(text)
	if err != nil {
		return nil, &Mistake{File: name, Line: line, Problem: err.Error(), Fix: "the schema of lb needs five levels at most"}
	}
	tree := map[string]any{}
	if _, err := toml.Decode(text, &tree); err != nil {
		m := &Mistake{File: name, Problem: "is not TOML: " + err.Error(), Fix: "correct the syntax there or just before it"}
		var parse toml.ParseError
		if errors.As(err, &parse) {
			m.Line = lineOf(text, parse.Position)
			m.Problem = "is not TOML: " + strings.TrimSuffix(strings.Join(strings.Fields(parse.Message), " "), ".")
			if parse.LastKey != "" {
				m.Problem += " (the last key read is " + parse.LastKey + ")"
			}
		}
		return nil, m
	}
	return &document{name: name, text: text, tree: plain(tree).(map[string]any), lines: lines}, nil
}

// lineOf is the line of an error's position. At a line that ends too early the decoder sometimes counts its end
// already; of some errors it knows no byte and gives -1.
func lineOf(text string, at toml.Position) int {
	text = withoutMark(text)
	if at.Start >= 0 && at.Start < len(text) && text[at.Start] == '\n' {
		return min(at.Line, strings.Count(text[:at.Start], "\n")+1)
	}
	return at.Line
}

// plain brings what the decoder or a test gives to the few types that a document's tree has.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = plain(e)
		}
		return out
	case map[string]string:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = e
		}
		return out
	case []any:
		return plainList(v)
	case []map[string]any:
		return plainList(v)
	case []string:
		return plainList(v)
	case []int:
		return plainList(v)
	case int:
		return int64(v)
	default:
		return v
	}
}

func plainList[T any](list []T) []any {
	out := make([]any, len(list))
	for i, e := range list {
		out[i] = plain(e)
	}
	return out
}

// root is the walk over the whole document.
func (d *document) root(r *report) *decoder { return newDecoder(d, "", d.tree, r) }
