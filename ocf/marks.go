package ocf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/config/salvage"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/recordstore"
)

func isAbsent(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// marks returns the marks under which the kernel may have the cluster: that of the configuration, as far as it can be read, that
// which the daemon says (0 when it does not), and the recorded one unless it was stopped or belongs to another cluster by now.
func (r resource) marks(found salvage.Found, daemon uint32) []ipvs.Mark {
	var marks []ipvs.Mark
	add := func(mark uint32) {
		if mark != 0 && !slices.Contains(marks, ipvs.Mark(mark)) {
			marks = append(marks, ipvs.Mark(mark))
		}
	}
	add(found.Marks[r.cluster])
	add(daemon)
	if rec, ok := r.recorded(); ok && !rec.stopped && !r.belongsToAnother(found, rec.mark) {
		add(rec.mark)
	}
	return marks
}

// relays returns the marks under which the kernel may have the cluster's relay, found out like those of marks.
func (r resource) relays(found salvage.Found, daemon uint32) []ipvs.Mark {
	candidates := []uint32{found.Relays[r.cluster], daemon}
	if rec, ok := r.recorded(); ok && !rec.stopped && !r.belongsToAnother(found, rec.relay) {
		candidates = append(candidates, rec.relay)
	}
	var marks []ipvs.Mark
	for _, mark := range candidates {
		if mark != 0 && !slices.Contains(marks, ipvs.Mark(mark)) {
			marks = append(marks, ipvs.Mark(mark))
		}
	}
	return marks
}

// belongsToAnother tells whether the configuration gives the mark to another cluster, or to its relay.
func (r resource) belongsToAnother(found salvage.Found, mark uint32) bool {
	for _, marks := range []map[string]uint32{found.Marks, found.Relays} {
		for cluster, m := range marks {
			if m == mark && cluster != r.cluster {
				return true
			}
		}
	}
	return false
}

func (r resource) stateFile() string { return filepath.Join(r.StateDir, r.cluster) }

// record is what the state file says: the marks that the cluster has in the kernel, or had before it was stopped.
type record struct {
	mark    uint32
	relay   uint32 // of its relay; 0 is none
	stopped bool
}

// recordOf is the record of a cluster that runs.
func recordOf(state api.ClusterStatus) record {
	return record{mark: state.Mark, relay: state.RelayMark}
}

// String is the line in the file.
func (rec record) String() string {
	state, relay := "running", ""
	if rec.stopped {
		state = "stopped"
	}
	if rec.relay != 0 {
		relay = fmt.Sprintf(" relay %d", rec.relay)
	}
	return fmt.Sprintf("mark %d %s%s\n", rec.mark, state, relay)
}

// recorded returns the record; ok is false when there is none.
func (r resource) recorded() (rec record, ok bool) {
	text, err := os.ReadFile(r.stateFile())
	if err != nil {
		return rec, false
	}
	var state string
	if n, _ := fmt.Sscanf(string(text), "mark %d %s relay %d", &rec.mark, &state, &rec.relay); n < 2 || rec.mark == 0 {
		return record{}, false
	}
	rec.stopped = state == "stopped"
	return rec, true
}

// keep writes the record, unless it stands there already. What prevents it is said, no more: only a later stop without daemon and
// configuration misses the record.
func (r resource) keep(rec record) {
	if old, ok := r.recorded(); rec.mark == 0 || ok && old == rec {
		return
	}
	if err := r.write(rec); err != nil {
		r.say("note: cannot record mark %d of %s: %v", rec.mark, r.cluster, err)
	}
}

// write puts the record in the place of the old one in one step.
func (r resource) write(rec record) error {
	if err := os.MkdirAll(r.StateDir, 0o755); err != nil {
		return err
	}
	return recordstore.WriteFileAtomic(r.stateFile(), []byte(rec.String()), 0o600)
}
