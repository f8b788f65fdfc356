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

// CheckValidator judges the options of a check: it decodes c.Options and returns c.Options.Err(), so that Load can
// report its mistakes, and the unknown keys, with all others.
type CheckValidator func(c Check) error

// Loader reads the configuration at path as Load does, with the options of its checks validated.
type Loader func(path string) (*Config, error)

// Load reads the configuration at path with all that it includes. With checks nil, the options of checks are not
// judged. The error is Mistakes: all of them, of all files, at once; then there is no Config.
func Load(path string, checks CheckValidator) (*Config, error) {
	l := newLoader(path, checks)
	l.readAll(l.read(path))
	return l.load()
}

// LoadText does as Load with a text that is in no file yet; path is what mistakes call it.
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

// Files reads the configuration at path with all that it includes, as LoadFiles takes it. What cannot be read, or is not TOML, is Mistakes.
func Files(path string) ([]File, error) {
	l := newLoader(path, nil)
	l.readAll(l.read(path))
	if len(l.report.mistakes) > 0 {
		return nil, l.report.mistakes.sorted()
	}
	files := make([]File, len(l.docs))
	for i, doc := range l.docs {
		files[i] = File{doc.name, doc.text}
	}
	return files, nil
}

// LoadFiles does as Load with files that were read elsewhere: the main one, then what that includes. It looks for no others.
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
		cfg: &Config{Path: path}, report: newReport(), warnings: newReport(), checks: checks, once: map[string]string{},
		marks: map[uint32]string{}, ports: map[vipPort][]portUse{},
	}
}

// load makes a configuration of the documents that were read.
func (l *loader) load() (*Config, error) {
	for _, doc := range l.docs {
		l.document(doc)
	}
	l.absent()
	l.judgeBindings()
	l.judgeRelays()
	l.judgeHooks()
	if len(l.report.mistakes) > 0 {
		return nil, l.report.mistakes.sorted()
	}
	slices.SortFunc(l.cfg.Services, func(a, b Service) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(l.cfg.Hooks, func(a, b Hook) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(l.cfg.Clusters, func(a, b Cluster) int { return cmp.Compare(a.Name, b.Name) })
	l.warnEmpty()
	l.cfg.warnings = l.warnings.mistakes.sorted()
	return l.cfg, nil
}

// loader is the state of one Load.
type loader struct {
	cfg      *Config
	docs     []*document // the main file first, then the included ones by their path
	report   *report
	warnings *report
	checks   CheckValidator
	once     map[string]string // table that may stand once only → its place
	marks    map[uint32]string // mark → the place of its cluster
	ports    map[vipPort][]portUse
	bindings []binding
	relays   []relayUse
	hookUses []hookUse
}

// readAll reads what the main file includes; main is nil when that cannot be read.
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

// read adds the file at path to the documents; nil when there is a mistake.
func (l *loader) read(path string) *document {
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o002 != 0 && info.Mode().IsRegular() {
		l.warnings.add(Mistake{
			File: path, Problem: "can be written by every user of the machine", Fix: "chmod o-w " + path,
		})
	}
	return l.add(readDocument(path))
}

// add takes a document, or notes why there is none and returns nil.
func (l *loader) add(doc *document, m *Mistake) *document {
	if m != nil {
		l.report.add(*m)
		return nil
	}
	l.docs = append(l.docs, doc)
	return doc
}

// expand lists the files that an entry of include means, sorted. As in a shell, a * does not begin a hidden name. at is the path of the include's entry.
func (l *loader) expand(d *decoder, at, pattern string) []string {
	full := pattern
	if !filepath.IsAbs(full) {
		full = filepath.Join(filepath.Dir(l.cfg.Path), pattern)
	}
	if pattern == "" {
		d.mistakeAt(at, pattern, "is empty", `name a file, or a pattern such as "conf.d/*.toml"`)
		return nil
	}
	if !strings.ContainsAny(pattern, `*?[\`) {
		info, err := os.Stat(full)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			d.mistakeAt(at, pattern, "there is no such file", "correct the path, create the file, or remove the entry")
		case err != nil:
			m := unreadable(full, err)
			d.mistakeAt(at, pattern, m.Problem, m.Fix)
		case info.IsDir():
			d.mistakeAt(at, pattern, "is a folder", "write "+strconv.Quote(filepath.Join(pattern, "*.toml"))+" for what is in it")
		case !info.Mode().IsRegular():
			d.mistakeAt(at, pattern, "is not a regular file", "name one that is")
		default:
			return []string{full}
		}
		return nil
	}
	files, err := filepath.Glob(full)
	if err != nil {
		d.mistakeAt(at, pattern, "is not a pattern", `write one such as "conf.d/*.toml"`)
		return nil
	}
	// Glob keeps silent about a folder that it cannot read: half a configuration would look like a whole one.
	if dir := filepath.Dir(full); !strings.ContainsAny(dir, `*?[\`) {
		switch _, err := os.ReadDir(dir); {
		case errors.Is(err, fs.ErrNotExist):
			l.warnings.add(Mistake{
				File: d.doc.name, Line: d.line(at), Key: at, Value: literal(pattern),
				Problem: "there is no such folder, so nothing is included", Fix: "create it, or remove the entry",
			})
		case err != nil:
			l.report.add(*unreadable(dir, err))
		}
	}
	return slices.DeleteFunc(files, func(file string) bool {
		hidden := strings.HasPrefix(filepath.Base(file), ".") && !strings.HasPrefix(filepath.Base(pattern), ".")
		info, err := os.Stat(file)
		return hidden || err == nil && !info.Mode().IsRegular() // folders, and what editors leave behind
	})
}

// document reads the tables of one file.
func (l *loader) document(doc *document) {
	d := doc.root(l.report)
	if doc.name == l.cfg.Path {
		d.asked["include"] = true // readAll did
	} else if d.has("include") {
		d.asked["include"] = true
		d.mistake("include", "stands in an included file", "only "+l.cfg.Path+" may include: move it there")
	}
	if t, ok := d.table("agent"); ok && l.first(t) {
		l.cfg.Agent = l.agent(t)
	}
	if t, ok := d.table("services"); ok {
		for _, name := range t.names() {
			if s, ok := t.table(name); ok && l.first(s) {
				l.cfg.Services = append(l.cfg.Services, l.service(s, name))
			}
		}
	}
	if t, ok := d.table("balancer"); ok && l.first(t) {
		l.cfg.Balancer = l.balancer(t)
	}
	if t, ok := d.table("clusters"); ok {
		for _, name := range t.names() {
			if c, ok := t.table(name); ok && l.first(c) {
				l.cfg.Clusters = append(l.cfg.Clusters, l.cluster(c, name))
			}
		}
	}
	if t, ok := d.table("hooks"); ok {
		for _, name := range t.names() {
			if h, ok := t.table(name); ok && l.first(h) {
				l.cfg.Hooks = append(l.cfg.Hooks, l.hook(h, name))
			}
		}
	}
	d.done()
}

// first tells whether this is the first file that has the table; a second one is a mistake.
func (l *loader) first(d *decoder) bool {
	if place, again := l.once[d.path]; again {
		d.own("stands in "+place+", too", "keep one of them")
		return false
	}
	l.once[d.path] = d.place()
	return true
}

// absent gives the tables that no file has their defaults.
func (l *loader) absent() {
	empty := newDecoder(&document{}, "", nil, newReport())
	if _, ok := l.once["agent"]; !ok {
		l.cfg.Agent = l.agent(empty)
	}
	if _, ok := l.once["balancer"]; !ok {
		l.cfg.Balancer = l.balancer(empty)
	}
}
