package ocf

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/netx/recordstore"
)

// record is the content of a cluster's state file: the marks that it has in the kernel, or had before it was stopped.
type record struct {
	mark    uint32
	relay   uint32 // of its relay; 0: none
	stopped bool
}

// runningRecord is the record of a running cluster.
func runningRecord(state api.ClusterStatus) record {
	return record{mark: state.Mark, relay: state.RelayMark}
}

// String is the line in the file, such as "mark 7 running relay 10007".
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

func (r resource) recordFile() string { return filepath.Join(r.StateDir, r.cluster) }

// loadRecord returns the record; ok is false if there is none.
func (r resource) loadRecord() (rec record, ok bool) {
	text, err := os.ReadFile(r.recordFile())
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

// saveRecord writes the record if it changed. A failure is only logged: it matters only to a later stop without daemon and configuration.
func (r resource) saveRecord(rec record) {
	if old, ok := r.loadRecord(); rec.mark == 0 || ok && old == rec {
		return
	}
	err := os.MkdirAll(r.StateDir, 0o755)
	if err == nil {
		err = recordstore.WriteFileAtomic(r.recordFile(), []byte(rec.String()), 0o600)
	}
	if err != nil {
		r.logf("note: cannot record mark %d of %s: %v", rec.mark, r.cluster, err)
	}
}
