// Package audit keeps a bounded record of who overrode what, why and when: one JSON line for every force and every drain that was
// given, taken back or that ended by itself.
package audit

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"github.com/braintree/lb/netx/logfile"
	"github.com/braintree/lb/netx/sanitize"
)

// FileName is the record in the daemon's data_dir; older parts are FileName.1 (the newest of them) to FileName.4.
const FileName = "audit.log"

const (
	maxSize   = 1 << 20 // bytes of one part: some thousands of changes
	olderKept = 4       // older parts kept, so that the record never takes more than five times maxSize

	// Bounds of texts that came from outside, in bytes.
	maxReason  = 500
	maxName    = 100
	maxService = 200
)

// Change is what happened to a force or a drain.
type Change string

// The changes.
const (
	Forced    Change = "forced"
	Deleted   Change = "deleted"
	Drained   Change = "drained"
	Undrained Change = "undrained"
	Expired   Change = "expired" // it ended by itself
)

// Entry is one line of the record.
type Entry struct {
	Time    time.Time `json:"time"` // when it happened, in UTC
	Change  Change    `json:"change"`
	Service string    `json:"service,omitempty"` // of a force; "" is every service
	Cluster string    `json:"cluster,omitempty"` // of a drain
	Node    string    `json:"node,omitempty"`    // of a drain: its address
	Kind    string    `json:"kind"`              // down, up or health; of a drain "drain"
	Value   *int      `json:"value,omitempty"`   // of kind health: the ceiling
	Reason  string    `json:"reason"`            // of the change; of what expired: its own
	Who     string    `json:"who"`               // as the client says; of what expired: who gave it
	Peer    string    `json:"peer,omitempty"`    // as the kernel says: "uid 0 (pid 42)", or the address; "" when it ended by itself
	SetAt   time.Time `json:"given,omitzero"`    // taken back or expired: when it was given
	Expires time.Time `json:"expires,omitzero"`  // when it ends, or was to end, by itself
}

// cleaned gives the entry as it is kept: bounded, printable texts, times in UTC.
func (e Entry) cleaned() Entry {
	e.Time = e.Time.UTC().Round(0)
	e.Service = sanitize.Line(e.Service, maxService)
	e.Reason = sanitize.Line(e.Reason, maxReason)
	e.Who = sanitize.Line(e.Who, maxName)
	e.Peer = sanitize.Line(e.Peer, maxName)
	return e
}

// Log is the record in one folder. It may be used by several goroutines.
type Log struct{ file *logfile.File }

// New gives the record in a folder.
func New(dir string) *Log {
	return &Log{logfile.New(filepath.Join(dir, FileName), maxSize, olderKept)}
}

// Append writes one line, and waits until it is on the disk. When it fails nothing, not even a part of the line, is left behind.
func (l *Log) Append(e Entry) error {
	line, err := json.Marshal(e.cleaned())
	if err == nil {
		err = l.file.Append(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write to the audit log %w", err)
	}
	return nil
}
