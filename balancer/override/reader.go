package override

import (
	"log/slog"
	"path/filepath"
	"slices"

	"github.com/braintree/lb/balancer/decide"
)

// Reader reads the files repeatedly and logs each problem once. One goroutine uses it at a time.
type Reader struct {
	Dir     string // "": there are no files
	log     *slog.Logger
	err     string   // of the last Read; "": none
	unknown []string // names that no cluster has, logged already
}

// NewReader returns a reader of a folder.
func NewReader(dir string, log *slog.Logger) *Reader { return &Reader{Dir: dir, log: log} }

// Read returns the current files, by the names of clusters. If complete is false, some could not be seen, or there is no
// folder: clusters then keep the files that they have.
func (r *Reader) Read() (files map[string]decide.Override, complete bool) {
	if r.Dir == "" {
		return nil, false
	}
	files, err := readAll(r.Dir)
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != r.err {
		r.log.Error("cannot read the clusters' up and down files: the last known files stay in effect", "err", err)
	}
	r.err = text
	return files, err == nil
}

// Unknown logs files that belong to no cluster.
func (r *Reader) Unknown(names []string, files map[string]decide.Override) {
	for _, name := range names {
		if !slices.Contains(r.unknown, name) {
			r.log.Warn("up or down file has no effect: no cluster has that name; rename or remove the file",
				"file", filepath.Join(r.Dir, files[name].String(), name))
		}
	}
	r.unknown = names
}
