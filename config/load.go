package config

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// CheckValidator validates the options of a check: it decodes c.Options and returns c.Options.Err(). Load reports those errors, and
// unknown keys, with all others.
type CheckValidator func(c Check) error

// Loader is Load with a fixed CheckValidator.
type Loader func(path string) (*Config, error)

// Load reads the configuration at path with the files that it includes. A nil checks leaves the options of checks unvalidated. The error
// is Diagnostics: everything that is wrong in any of the files. Then Config is nil.
func Load(path string, checks CheckValidator) (*Config, error) {
	l := newLoader(path, checks)
	l.readAll(l.read(path))
	return l.load()
}

// LoadText is Load for a text that is not in a file yet; path is its name in errors.
func LoadText(path, text string, checks CheckValidator) (*Config, error) {
	l := newLoader(path, checks)
	l.readAll(l.add(parseDocument(path, text)))
	return l.load()
}

// File is one file of a configuration.
type File struct {
	Name string `json:"name"` // its path
	Text string `json:"text"`
}

// Files reads the files of the configuration at path, for LoadFiles. Unreadable files and files that are not TOML are Diagnostics.
func Files(path string) ([]File, error) {
	l := newLoader(path, nil)
	l.readAll(l.read(path))
	if len(l.report.diagnostics) > 0 {
		return nil, l.report.diagnostics.sorted()
	}
	files := make([]File, len(l.docs))
	for i, doc := range l.docs {
		files[i] = File{doc.name, doc.text}
	}
	return files, nil
}

// LoadFiles is Load for files that were read elsewhere: the main file, then those that it includes. It reads no others.
func LoadFiles(files []File, checks CheckValidator) (*Config, error) {
	path := ""
	if len(files) > 0 {
		path = files[0].Name
	}
	l := newLoader(path, checks)
	for _, f := range files {
		l.add(parseDocument(f.Name, f.Text))
	}
	return l.load()
}

func newLoader(path string, checks CheckValidator) *loader {
	return &loader{
		cfg: &Config{Path: path}, report: newReport(), checks: checks, tables: map[string]string{},
		marks: map[uint32]string{}, ports: map[vipPort][]portUse{},
	}
}

// load makes a configuration from the documents.
func (l *loader) load() (*Config, error) {
	for _, doc := range l.docs {
		l.document(doc)
	}
	l.applyDefaults()
	l.checkListeners()
	l.checkRelays()
	l.checkHooks()
	if len(l.report.diagnostics) > 0 {
		return nil, l.report.diagnostics.sorted()
	}
	slices.SortFunc(l.cfg.Services, func(a, b Service) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(l.cfg.Hooks, func(a, b Hook) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(l.cfg.Clusters, func(a, b Cluster) int { return cmp.Compare(a.Name, b.Name) })
	l.warnEmpty()
	l.cfg.warnings = l.report.warnings.diagnostics.sorted()
	return l.cfg, nil
}

// loader is the state of one Load.
type loader struct {
	cfg       *Config
	docs      []*document // the main file, then the included files by path
	report    *report
	checks    CheckValidator
	tables    map[string]string // path of a table that may occur once → its location
	marks     map[uint32]string // mark → path and location of its cluster
	ports     map[vipPort][]portUse
	listeners []listener
	relays    []relayMark
	hooks     []parsedHook
}

// readAll reads the files that the main file includes; main is nil if it cannot be read.
func (l *loader) readAll(main *document) {
	if main == nil {
		return
	}
	d := main.root(l.report)
	seen := map[string]bool{filepath.Clean(l.cfg.Path): true}
	for i, pattern := range d.strings("include") {
		at := joinIndex("include", i)
		for _, file := range l.expand(d, at, pattern) {
			if !seen[filepath.Clean(file)] {
				seen[filepath.Clean(file)] = true
				l.read(file)
			}
		}
	}
}

// read adds the file at path to the documents. It returns nil after an error.
func (l *loader) read(path string) *document {
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o002 != 0 && info.Mode().IsRegular() {
		l.report.warnings.add(Diagnostic{
			File: path, Problem: "is writable by every user", Fix: "chmod o-w " + path,
		})
	}
	return l.add(readDocument(path))
}

// add adds a document, or reports why there is none and returns nil.
func (l *loader) add(doc *document, m *Diagnostic) *document {
	if m != nil {
		l.report.add(*m)
		return nil
	}
	l.docs = append(l.docs, doc)
	return doc
}

// expand lists the files that match an entry of include, sorted. As in a shell, a leading * does not match hidden files. at is the path
// of the entry.
func (l *loader) expand(d *decoder, at, pattern string) []string {
	full := pattern
	if !filepath.IsAbs(full) {
		full = filepath.Join(filepath.Dir(l.cfg.Path), pattern)
	}
	if pattern == "" {
		d.invalidAt(at, pattern, "is empty", `name a file, or a pattern such as "conf.d/*.toml"`)
		return nil
	}
	if !strings.ContainsAny(pattern, `*?[\`) {
		info, err := os.Stat(full)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			d.invalidAt(at, pattern, "does not exist", "correct the path, create the file, or remove the entry")
		case err != nil:
			m := unreadable(full, err)
			d.invalidAt(at, pattern, m.Problem, m.Fix)
		case info.IsDir():
			d.invalidAt(at, pattern, "is a folder", "use "+strconv.Quote(filepath.Join(pattern, "*.toml"))+" for the files in it")
		case !info.Mode().IsRegular():
			d.invalidAt(at, pattern, "is not a regular file", "name a regular file")
		default:
			return []string{full}
		}
		return nil
	}
	files, err := filepath.Glob(full)
	if err != nil {
		d.invalidAt(at, pattern, "is not a valid pattern", `use one such as "conf.d/*.toml"`)
		return nil
	}
	// Glob ignores a folder that it cannot read: half a configuration would look complete.
	if dir := filepath.Dir(full); !strings.ContainsAny(dir, `*?[\`) {
		switch _, err := os.ReadDir(dir); {
		case errors.Is(err, fs.ErrNotExist):
			l.report.warnings.add(Diagnostic{
				File: d.doc.name, Line: d.line(at), Key: at, Value: literal(pattern),
				Problem: "names a folder that does not exist, so it includes nothing", Fix: "create the folder, or remove the entry",
			})
		case err != nil:
			l.report.add(*unreadable(dir, err))
		}
	}
	return slices.DeleteFunc(files, func(file string) bool {
		hidden := strings.HasPrefix(filepath.Base(file), ".") && !strings.HasPrefix(filepath.Base(pattern), ".")
		info, err := os.Stat(file)
		return hidden || err == nil && !info.Mode().IsRegular() // folders, and leftovers of editors
	})
}

// document reads the tables of one file.
func (l *loader) document(doc *document) {
	d := doc.root(l.report)
	if doc.name == l.cfg.Path {
		d.consumed["include"] = true // by readAll
	} else if d.has("include") {
		d.consumed["include"] = true
		d.invalid("include", "is in an included file", "move it to "+l.cfg.Path+": only the main file may include")
	}
	if t, ok := d.table("agent"); ok && l.claimTable(t) {
		l.cfg.Agent = l.agent(t)
	}
	if t, ok := d.table("services"); ok {
		for _, name := range t.names() {
			if s, ok := t.table(name); ok && l.claimTable(s) {
				l.cfg.Services = append(l.cfg.Services, l.service(s, name))
			}
		}
	}
	if t, ok := d.table("balancer"); ok && l.claimTable(t) {
		l.cfg.Balancer = readBalancer(t)
	}
	if t, ok := d.table("clusters"); ok {
		for _, name := range t.names() {
			if c, ok := t.table(name); ok && l.claimTable(c) {
				l.cfg.Clusters = append(l.cfg.Clusters, l.cluster(c, name))
			}
		}
	}
	if t, ok := d.table("hooks"); ok {
		for _, name := range t.names() {
			if h, ok := t.table(name); ok && l.claimTable(h) {
				l.cfg.Hooks = append(l.cfg.Hooks, l.hook(h, name))
			}
		}
	}
	d.done()
}

// claimTable reports whether this is the first file with the table. A second one is an error.
func (l *loader) claimTable(d *decoder) bool {
	if first, again := l.tables[d.path]; again {
		d.invalidTable("is also in "+first, "keep one of them")
		return false
	}
	l.tables[d.path] = d.location()
	return true
}

// applyDefaults fills the tables that no file has.
func (l *loader) applyDefaults() {
	empty := newDecoder(&document{}, "", nil, newReport())
	if _, ok := l.tables["agent"]; !ok {
		l.cfg.Agent = l.agent(empty)
	}
	if _, ok := l.tables["balancer"]; !ok {
		l.cfg.Balancer = readBalancer(empty)
	}
}
