package recordstore

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	suffix     = ".json"
	tempPrefix = ".new-"
	maxFile    = 16 << 10 // far above what a record with full texts takes
)

// Parse reads the contents of a record's file.
func (s Kind[K, V]) Parse(data []byte) (V, error) {
	var v, none V
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		return none, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return none, fmt.Errorf("something follows the %s", s.Name)
	}
	return s.Validate(v)
}

// Format is the inverse of Parse.
func (s Kind[K, V]) Format(v V) ([]byte, error) {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(data, '\n'), nil
}

func (s Kind[K, V]) fileName(v V) string { return s.FileName(v) + suffix }

// read reads one record and checks that its file is the one that a change of this record would write.
func (s Kind[K, V]) read(dir, name string) (V, error) {
	var none V
	path := filepath.Join(dir, name)
	fail := func(err error) (V, error) {
		return none, fmt.Errorf("the %s in %s is ignored: %w: %s, or delete the file", s.Name, path, err, s.Fix)
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
	v, err := s.Parse(data)
	if err != nil {
		return fail(err)
	}
	if want := s.fileName(v); want != name {
		return fail(fmt.Errorf("its contents belong in %s", want))
	}
	return v, nil
}

// write replaces the record's file in one step that survives a crash: a reader, and a start after a crash, sees the old or
// the new contents and never a part. before is what its file has now; nil: there is none.
func (s Kind[K, V]) write(dir string, v V, before *V) error {
	data, err := s.Format(v)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, s.fileName(v))
	if err := replace(path, data); err != nil {
		return err
	}
	if err := syncDir(dir); err != nil {
		// The new name is there but may not outlive a crash. Go back, so that what the caller is told is true.
		return errors.Join(err, s.restore(path, before))
	}
	return nil
}

// restore undoes the change of a record's file.
func (s Kind[K, V]) restore(path string, before *V) error {
	if before == nil {
		return os.Remove(path)
	}
	data, err := s.Format(*before)
	if err != nil {
		return err
	}
	return replace(path, data)
}

// remove deletes the record's file for good; one that is gone already is fine.
func (s Kind[K, V]) remove(dir string, v V) error {
	path := filepath.Join(dir, s.fileName(v))
	if err := ignoreMissing(os.Remove(path)); err != nil {
		return err
	}
	if err := syncDir(dir); err != nil {
		return errors.Join(err, s.restore(path, &v))
	}
	return nil
}

// replace replaces a record's file.
func replace(path string, data []byte) error { return WriteFileAtomic(path, data, 0o640) }

// Replace puts a complete, synced file in the place of the one at path, if there is one: whoever reads sees the old contents or the new ones. Its folder
// has to be there.
func WriteFileAtomic(path string, data []byte, mode fs.FileMode) (err error) {
	tmp, err := openPlain(filepath.Join(filepath.Dir(path), tempPrefix+rand.Text()), unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)
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
		err = tmp.Chmod(mode)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// syncDir makes the names in a folder survive a crash.
func syncDir(dir string) error {
	d, err := openPlain(dir, unix.O_RDONLY)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// openPlain opens a plain file or a folder. os.OpenFile would have the runtime's poller watch it first, in vain, which takes as many system calls as all else that
// is done with it here.
func openPlain(path string, flags int) (*os.File, error) {
	for {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0o600)
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), path), nil
		case !errors.Is(err, unix.EINTR):
			return nil, &fs.PathError{Op: "open", Path: path, Err: err}
		}
	}
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
