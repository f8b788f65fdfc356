// Package audit records who overrode what, why and when: one JSON line for each force or drain that is set, removed or
// expires.
package audit

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"github.com/braintree/lb/netx/logfile"
	"github.com/braintree/lb/netx/sanitize"
)

// FileName is the audit log in the daemon's data_dir. Rotated files are FileName.1 (the newest) to FileName.4.
const FileName = "audit.log"

const (
	maxSize      = 1 << 20 // bytes per file: several thousand changes
	rotatedFiles = 4       // so the log takes at most five times maxSize

	// Limits of texts from outside, in bytes.
	maxReason  = 500
	maxName    = 100
	maxService = 200
)

// Change is what happened to a force or drain.
type Change string

// The changes.
const (
	Forced    Change = "forced"
	Deleted   Change = "deleted"
	Drained   Change = "drained"
	Undrained Change = "undrained"
	Expired   Change = "expired" // ended by itself
)

// Entry is one line of the log.
type Entry struct {
	Time    time.Time `json:"time"` // in UTC
	Change  Change    `json:"change"`
	Service string    `json:"service,omitempty"` // of a force; "" means every service
	Cluster string    `json:"cluster,omitempty"` // of a drain
	Node    string    `json:"node,omitempty"`    // of a drain: the node's address
	Kind    string    `json:"kind"`              // down, up or health; "drain" for a drain
	Value   *int      `json:"value,omitempty"`   // for kind health: the ceiling
	Reason  string    `json:"reason"`            // of this change; if expired, the reason of the original
	Who     string    `json:"who"`               // as given by the client; if expired, whoever set it
	Peer    string    `json:"peer,omitempty"`    // as identified by the kernel: "uid 0 (pid 42)" or the address; "" if expired
	SetAt   time.Time `json:"given,omitzero"`    // if removed or expired: when it was set
	Expires time.Time `json:"expires,omitzero"`  // when it ends, or would have ended, by itself
}

// sanitized returns the entry with bounded, printable texts and its time in UTC.
func (e Entry) sanitized() Entry {
	e.Time = e.Time.UTC().Round(0)
	e.Service = sanitize.Line(e.Service, maxService)
	e.Reason = sanitize.Line(e.Reason, maxReason)
	e.Who = sanitize.Line(e.Who, maxName)
	e.Peer = sanitize.Line(e.Peer, maxName)
	return e
}

// Log is the audit log in one folder. It is safe for concurrent use.
type Log struct{ file *logfile.File }

// New returns the log in the folder dir. Nothing is created until the first Append.
func New(dir string) *Log {
	return &Log{logfile.New(filepath.Join(dir, FileName), maxSize, rotatedFiles)}
}

// Append writes one line and syncs it to disk. On failure it leaves no partial line behind.
func (l *Log) Append(e Entry) error {
	line, err := json.Marshal(e.sanitized())
	if err == nil {
		err = l.file.Append(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("append to the audit log %w", err)
	}
	return nil
}
