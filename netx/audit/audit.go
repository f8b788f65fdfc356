// Package audit keeps a bounded record of who overrode what, why and when: one JSON line for every force and every drain that was
// given, taken back or that ended by itself.
package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/braintree/lb/netx/oneline"
)

// FileName is the record in the daemon's data_dir; older parts are FileName.1 (the newest of them) to FileName.4.
const FileName = "audit.log"

const (
	maxSize   = 1 << 20 // bytes of one part: some thousands of changes
	olderKept = 4       // older parts kept, so that the record never takes more than five times maxSize

	mode = 0o640

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
	Given   time.Time `json:"given,omitzero"`    // taken back or expired: when it was given
	Expires time.Time `json:"expires,omitzero"`  // when it ends, or was to end, by itself
}

// cleaned gives the entry as it is kept: bounded, printable texts, times in UTC.
func (e Entry) cleaned() Entry {
	e.Time = e.Time.UTC().Round(0)
	e.Service = oneline.Clean(e.Service, maxService)
	e.Reason = oneline.Clean(e.Reason, maxReason)
	e.Who = oneline.Clean(e.Who, maxName)
	e.Peer = oneline.Clean(e.Peer, maxName)
	return e
}

// Log is the record in one folder. It may be used by several goroutines.
type Log struct {
	path    string
	maxSize int64
	mu      sync.Mutex // held for a whole append, so that lines and turns of the file do not mix
}

// New gives the record in a folder. Nothing is opened until something is appended: changes are rare, and whoever moves the file
// away (logrotate, an operator) finds the next line in a new one.
func New(dir string) *Log { return &Log{path: filepath.Join(dir, FileName), maxSize: maxSize} }

// Append writes one line, and waits until it is on the disk. When it fails nothing, not even a part of the line, is left behind.
func (l *Log) Append(e Entry) error {
	line, err := json.Marshal(e.cleaned())
	if err != nil {
		return fmt.Errorf("write to the audit log: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.append(append(line, '\n')); err != nil {
		return fmt.Errorf("write to the audit log %s: %w: free space on that disk or make it writable", l.path, err)
	}
	return nil
}

func (l *Log) append(line []byte) error {
	if err := l.turn(int64(len(line))); err != nil {
		return err
	}
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, mode)
	if err != nil {
		return err
	}
	return errors.Join(write(f, line), f.Close())
}

// write appends the line to the file, on a line of its own also when a crash left half of one.
func write(f *os.File, line []byte) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if size := info.Size(); size > 0 {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, size-1); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if last[0] != '\n' {
			line = append([]byte{'\n'}, line...)
		}
	}
	if _, err := f.Write(line); err != nil {
		return errors.Join(err, f.Truncate(info.Size()))
	}
	return f.Sync()
}

// turn makes room for n bytes: a full file becomes the newest of the older parts, and the oldest of those goes.
func (l *Log) turn(n int64) error {
	info, err := os.Lstat(l.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return errors.New("something that is no plain file is there: move it away") // a pipe would block for ever
	case info.Size()+n <= l.maxSize:
		return nil
	}
	for i := olderKept; i > 0; i-- {
		from := l.path
		if i > 1 {
			from = l.older(i - 1)
		}
		if err := os.Rename(from, l.older(i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (l *Log) older(i int) string { return l.path + "." + strconv.Itoa(i) }
