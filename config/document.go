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

// document is one parsed file of a configuration.
type document struct {
	name  string // path of the file, as errors show it
	text  string
	tree  map[string]any // of string, int64, float64, bool, time.Time, []any and map[string]any
	lines map[string]int // line of each key, by its path
}

// readDocument reads and parses the file at path.
func readDocument(path string) (*document, *Diagnostic) {
	file, err := os.Open(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFileSize+1))
	if err != nil {
		return nil, unreadable(path, err)
	}
	if len(text) > maxFileSize {
		return nil, &Diagnostic{File: path, Problem: "is larger than 16 MiB", Fix: "name a configuration file"}
	}
	return parseDocument(path, string(text))
}

// maxFileSize bounds the size of a file: room for a hundred thousand nodes, but not for a path that names a disk.
const maxFileSize = 16 << 20

// unreadable is the error of a file or folder that cannot be read.
func unreadable(path string, err error) *Diagnostic {
	fix := "check the path and the file system"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		fix = "correct the path, or create the file"
	case errors.Is(err, fs.ErrPermission):
		fix = "make it readable for the user that lb runs as"
	case errors.Is(err, syscall.EISDIR):
		fix = `name a file; to include a folder's files, use a pattern such as "conf.d/*.toml"`
	}
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err // the message already begins with the path
	}
	return &Diagnostic{File: path, Problem: "cannot be read: " + err.Error(), Fix: fix}
}

// parseDocument parses the text of the file called name.
func parseDocument(name, text string) (*document, *Diagnostic) {
	lines, line, err := lineNumbers(text)
	if err != nil {
		return nil, &Diagnostic{File: name, Line: line, Problem: err.Error(), Fix: "lb needs five levels at most"}
	}
	tree := map[string]any{}
	if _, err := toml.Decode(text, &tree); err != nil {
		m := &Diagnostic{File: name, Problem: "is not TOML: " + err.Error(), Fix: "correct the syntax at that line or just before it"}
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
	return &document{name: name, text: text, tree: normalize(tree).(map[string]any), lines: lines}, nil
}

// lineOf returns the line of an error. For a line that ends too early, the toml package sometimes gives the next line; for some errors it
// gives the byte offset -1.
func lineOf(text string, at toml.Position) int {
	text = trimByteOrderMark(text)
	if at.Start >= 0 && at.Start < len(text) && text[at.Start] == '\n' {
		return min(at.Line, strings.Count(text[:at.Start], "\n")+1)
	}
	return at.Line
}

// normalize converts what the toml package or a test provides to the types of a document's tree.
func normalize(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = normalize(e)
		}
		return out
	case map[string]string:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = e
		}
		return out
	case []any:
		return normalizeList(v)
	case []map[string]any:
		return normalizeList(v)
	case []string:
		return normalizeList(v)
	case []int:
		return normalizeList(v)
	case int:
		return int64(v)
	default:
		return v
	}
}

func normalizeList[T any](list []T) []any {
	out := make([]any, len(list))
	for i, e := range list {
		out[i] = normalize(e)
	}
	return out
}

// root returns a decoder of the whole document.
func (d *document) root(r *report) *decoder { return newDecoder(d, "", d.tree, r) }
