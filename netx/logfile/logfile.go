// Package logfile appends whole lines to a file that never grows beyond a bound: a full one becomes the newest of a few older parts.
package logfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"sync"
)

const mode = 0o640

// File is such a file. It may be used by several goroutines.
type File struct {
	path    string
	maxSize int64 // most bytes of one part
	keep    int   // how many older parts are kept: PATH.1, the newest of them, to PATH.older
	mu      sync.Mutex
}

// New gives the file at path, of parts with at most size bytes. Nothing is opened until something is appended, and after that it is
// closed again: whoever moves the file away (logrotate, an operator) finds the next line in a new one.
func New(path string, maxSize int64, keep int) *File {
	return &File{path: path, maxSize: maxSize, keep: keep}
}

// Append writes lines, each with its line end, and waits until they are on the disk. When it fails nothing, not even a part of a line,
// is left behind.
func (l *File) Append(lines []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.append(lines); err != nil {
		return fmt.Errorf("%s: %w: free space on that disk or make it writable", l.path, err)
	}
	return nil
}

func (l *File) append(lines []byte) error {
	if err := l.rotate(int64(len(lines))); err != nil {
		return err
	}
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, mode)
	if err != nil {
		return err
	}
	return errors.Join(write(f, lines), f.Close())
}

// write appends to the file, on a line of its own also when a crash left half of one.
func write(f *os.File, lines []byte) error {
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
			lines = append([]byte{'\n'}, lines...)
		}
	}
	if _, err := f.Write(lines); err != nil {
		return errors.Join(err, f.Truncate(info.Size()))
	}
	return f.Sync()
}

// turn makes room for n bytes: a full file becomes the newest of the older parts, and the oldest of those goes.
func (l *File) rotate(n int64) error {
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
	for i := l.keep; i > 0; i-- {
		if err := os.Rename(l.filePath(i-1), l.filePath(i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// part is the path of the file itself, 0, or of an older part.
func (l *File) filePath(i int) string {
	if i == 0 {
		return l.path
	}
	return l.path + "." + strconv.Itoa(i)
}

// Tail gives the last whole lines of the file and its newest older part, n bytes of them at most. Of a file that is not there it gives
// nothing.
func (l *File) Tail(n int64) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	newest, err := tail(l.filePath(0), n)
	if err != nil || l.keep == 0 {
		return newest, err
	}
	older, err := tail(l.filePath(1), n-int64(len(newest)))
	return append(older, newest...), err
}

func tail(path string, n int64) ([]byte, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("read %s: something that is no plain file is there: move it away", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	start := max(info.Size()-n, 0)
	text, err := io.ReadAll(io.NewSectionReader(f, start, n))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if start > 0 { // it may begin in the middle of a line
		text = text[bytes.IndexByte(text, '\n')+1:]
	}
	return text[:bytes.LastIndexByte(text, '\n')+1], nil
}
