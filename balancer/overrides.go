package balancer

import (
	"log/slog"
	"slices"
	"time"

	"github.com/braintree/lb/balancer/cluster"
	"github.com/braintree/lb/balancer/override"
)

// overrides reads the up and down files of the clusters.
type overrides struct {
	dir     string // "": none
	log     *slog.Logger
	err     string   // of the last read; "": none
	unknown []string // files that no cluster has, reported already
}

func newOverrides(dir string, log *slog.Logger) *overrides { return &overrides{dir: dir, log: log} }

// read gives the model the files as they are now. A cluster whose file cannot be seen keeps the one it had.
func (o *overrides) read(now time.Time, m *cluster.Model) {
	if o.dir == "" {
		return
	}
	files, err := override.Read(o.dir)
	if err != nil && err.Error() != o.err {
		o.log.Error("cannot read the clusters' up and down files: the files seen before stay in effect", "err", err)
	}
	o.err = errorText(err)
	unknown := m.SetFiles(now, files, err == nil)
	for _, name := range unknown {
		if !slices.Contains(o.unknown, name) {
			o.log.Warn("an up or down file has the name of no cluster and no effect: rename or remove it",
				"file", o.dir+"/"+cluster.FileWord(files[name])+"/"+name)
		}
	}
	o.unknown = unknown
}
