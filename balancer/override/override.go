// Package override reads operators' up and down files, which replace the health of all nodes of a cluster, as in big_brother.
package override

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/netx/sanitize"
)

const (
	maxReason = 120     // bytes of a file's text kept as its reason
	maxRead   = 1 << 10 // bytes of a file read for that
)

// readAll returns the overrides in dir/up and dir/down by file name, which is the name of a cluster. If a name is in both, up wins. A
// missing directory is empty. The text of a file is its reason; an unreadable file counts, without one. After an error the result
// may be incomplete.
func readAll(dir string) (map[string]decide.Override, error) {
	files := map[string]decide.Override{}
	var errs []error
	for _, directory := range []struct {
		name string
		kind decide.OverrideKind
	}{{"down", decide.OverrideDown}, {"up", decide.OverrideUp}} {
		path := filepath.Join(dir, directory.name)
		entries, err := os.ReadDir(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("read %s files of clusters: %w: let the user that runs lb balance list that directory",
				directory.name, err))
		}
		for _, e := range entries {
			if reason, exists := readReason(filepath.Join(path, e.Name())); exists {
				files[e.Name()] = decide.Override{Kind: directory.kind, Reason: reason}
			}
		}
	}
	return files, errors.Join(errs...)
}

// readReason reads the beginning of a file. As in big_brother, a dangling symbolic link does not exist.
func readReason(path string) (reason string, exists bool) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", false
	case err != nil || !info.Mode().IsRegular():
		return "", true
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", true
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxRead))
	if err != nil {
		return "", true
	}
	return sanitize.Line(string(text), maxReason), true
}
