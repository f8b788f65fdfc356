package force

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
)

const (
	suffix     = ".json"
	tempPrefix = ".new-"
	maxFile    = 16 << 10 // far above what a force with full texts takes
)

// fileName is where a force is kept: all.KIND.json, or service.NAME.KIND.json with the name escaped, so that no
// name can leave the folder and no service can be taken for all of them.
func fileName(f Force) string {
	if f.Service == "" {
		return "all." + string(f.Kind) + suffix
	}
	return "service." + url.PathEscape(f.Service) + "." + string(f.Kind) + suffix
}

// parseForce reads the contents of a force's file.
func parseForce(data []byte) (Force, error) {
	var f Force
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return Force{}, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Force{}, errors.New("something follows the force")
	}
	if err := f.validate(); err != nil {
		return Force{}, err
	}
	return f.Cleaned(), nil
}

// formatForce is the inverse of parseForce.
func formatForce(f Force) ([]byte, error) {
	data, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(data, '\n'), nil
}

// readFile reads one force and checks that its file is the one that a change of this force would write.
func readFile(dir, name string) (Force, error) {
	path := filepath.Join(dir, name)
	fail := func(err error) (Force, error) {
		return Force{}, fmt.Errorf("forced state %s is ignored: %w: force again with `lb ctl force`, or delete the file", path, err)
	}
	// Anything but a plain file could block the start for ever (a pipe) or be something else's (a device).
	info, err := os.Stat(path)
	if err != nil {
		return fail(err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return fail(fmt.Errorf("not a plain file of at most %d bytes", maxFile))
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return fail(err)
	}
	f, err := parseForce(data)
	if err != nil {
		return fail(err)
	}
	if want := fileName(f); want != name {
		return fail(fmt.Errorf("its contents belong in %s", want))
	}
	return f, nil
}

// writeFile replaces the force's file in one step that survives a crash: a reader, and a start after a crash, sees the old or
// the new contents and never a part.
func writeFile(dir string, f Force) error {
	data, err := formatForce(f)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, fileName(f))
	previous, readErr := os.ReadFile(path)
	if err := replace(dir, path, data); err != nil {
		return err
	}
	if err := syncDir(dir); err != nil {
		// The new name is there but may not outlive a crash. Go back, so that what the caller is told is true.
		if readErr == nil {
			return errors.Join(err, replace(dir, path, previous))
		}
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// replace puts a complete, synced file at path.
func replace(dir, path string, data []byte) (err error) {
	tmp, err := os.CreateTemp(dir, tempPrefix)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreMissing(os.Remove(tmp.Name())))
		}
	}()
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Chmod(0o640)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// removeFile deletes the force's file for good; one that is gone already is fine.
func removeFile(dir string, f Force) error {
	path := filepath.Join(dir, fileName(f))
	if err := ignoreMissing(os.Remove(path)); err != nil {
		return err
	}
	if err := syncDir(dir); err != nil {
		data, formatErr := formatForce(f)
		if formatErr != nil {
			return errors.Join(err, formatErr)
		}
		return errors.Join(err, replace(dir, path, data))
	}
	return nil
}

// syncDir makes the names in a folder survive a crash.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
