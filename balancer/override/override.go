// Package override reads the files with which operators overrule what the nodes of a whole cluster answer, as big_brother knows them:
// up/CLUSTER and down/CLUSTER in a folder.
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

// reasonLength is how much of a file is kept as its reason, in bytes; readLength is how much of it is looked at.
const (
	reasonLength = 120
	readLength   = 1 << 10
)

// Read gives the files in the folders up and down of dir by the name that they have, which is that of a cluster. Of a name that is in
// both, up wins. A folder that is not there has no files. What a file holds is its reason; whether it can be read does not matter.
// An error means that not everything could be seen: what was is no proof then that there is no more.
func Read(dir string) (map[string]decide.Override, error) {
	files := map[string]decide.Override{}
	var errs []error
	for _, folder := range []struct {
		name string
		kind decide.OverrideKind
	}{{"down", decide.OverrideDown}, {"up", decide.OverrideUp}} {
		path := filepath.Join(dir, folder.name)
		entries, err := os.ReadDir(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("read the %s files of clusters: %w; let the user that lb balance runs as list that folder", folder.name, err))
		}
		for _, e := range entries {
			if reason, there := reason(filepath.Join(path, e.Name())); there {
				files[e.Name()] = decide.Override{Kind: folder.kind, Reason: reason}
			}
		}
	}
	return files, errors.Join(errs...)
}

// reason reads the beginning of a file. It tells whether the file is there: a link to nowhere is not, as for big_brother.
func reason(path string) (string, bool) {
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
	text, err := io.ReadAll(io.LimitReader(f, readLength))
	if err != nil {
		return "", true
	}
	return sanitize.Line(string(text), reasonLength), true
}
