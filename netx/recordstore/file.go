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
	fileSuffix  = ".json"
	tempPrefix  = ".new-"
	maxFileSize = 16 << 10 // far above the size of a record whose texts have their maximum lengths
)

// Unmarshal decodes and validates the contents of a record's file. Unknown fields are errors.
func (s Kind[K, V]) Unmarshal(data []byte) (V, error) {
	var v, none V
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		return none, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return none, fmt.Errorf("unexpected data after the %s", s.Name)
	}
	return s.Validate(v)
}

// Marshal is the inverse of Unmarshal.
func (s Kind[K, V]) Marshal(v V) ([]byte, error) {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(data, '\n'), nil
}

func (s Kind[K, V]) fileName(v V) string { return s.FileName(v) + fileSuffix }

// read reads one record and checks that its key belongs to this file name.
func (s Kind[K, V]) read(dir, name string) (V, error) {
	var none V
	path := filepath.Join(dir, name)
	fail := func(err error) (V, error) {
		return none, fmt.Errorf("the %s in %s is ignored: %w: %s, or delete the file", s.Name, path, err, s.Fix)
	}
	// Opening anything but a regular file could block start-up forever (a FIFO) or have side effects (a device).
	info, err := os.Stat(path)
	if err != nil {
		return fail(err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxFileSize {
		return fail(fmt.Errorf("not a regular file of at most %d bytes", maxFileSize))
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return fail(err)
	}
	v, err := s.Unmarshal(data)
	if err != nil {
		return fail(err)
	}
	if want := s.fileName(v); want != name {
		return fail(fmt.Errorf("its contents belong in the file %s", want))
	}
	return v, nil
}

// write replaces the record's file atomically: readers, and a start after a crash, see the old or the new contents,
// never a mixture. old is the record now in the file; nil if there is no file.
func (s Kind[K, V]) write(dir string, v V, old *V) error {
	data, err := s.Marshal(v)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, s.fileName(v))
	if err := replaceFile(path, data); err != nil {
		return err
	}
	if err := syncDir(dir); err != nil {
		// The rename may not survive a crash. Undo it, so that the error returned is true.
		return errors.Join(err, s.restore(path, old))
	}
	return nil
}

// restore undoes a change of the record's file.
func (s Kind[K, V]) restore(path string, old *V) error {
	if old == nil {
		return os.Remove(path)
	}
	data, err := s.Marshal(*old)
	if err != nil {
		return err
	}
	return replaceFile(path, data)
}

// remove deletes the record's file durably; a missing file is no error.
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

// replaceFile replaces a record's file.
func replaceFile(path string, data []byte) error { return WriteFileAtomic(path, data, 0o640) }

// WriteFileAtomic writes data to a temporary file, syncs it and renames it to path: readers see the old or the new
// contents, never a mixture. The folder must exist. The rename itself is not synced.
func WriteFileAtomic(path string, data []byte, mode fs.FileMode) (err error) {
	tmp, err := openBlocking(filepath.Join(filepath.Dir(path), tempPrefix+rand.Text()), unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)
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

// syncDir makes renames and removals in a folder survive a crash.
func syncDir(dir string) error {
	d, err := openBlocking(dir, unix.O_RDONLY)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// openBlocking opens a regular file or a folder. Unlike os.OpenFile it does not try to register the file with the
// runtime's poller, which always fails for these and takes as many system calls as all other work here.
func openBlocking(path string, flags int) (*os.File, error) {
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
