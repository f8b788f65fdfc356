// Package logfile appends whole lines to a file of bounded size that it rotates.
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

// File is a rotated log file. It is safe for concurrent use.
type File struct {
	path    string
	maxSize int64 // bytes per file
	keep    int   // rotated files kept: PATH.1 (the newest) to PATH.keep
	mu      sync.Mutex
}

// New returns the log file at path, which is rotated before it exceeds maxSize bytes. Each Append opens and closes the
// file, so that it may be moved away at any time, by logrotate or by hand.
func New(path string, maxSize int64, keep int) *File {
	return &File{path: path, maxSize: maxSize, keep: keep}
}

// Append writes lines, which must end with a newline, and syncs them to disk. On failure it leaves no partial line
// behind.
func (l *File) Append(lines []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.append(lines); err != nil {
		return fmt.Errorf("%s: %w: free disk space, or make the file writable", l.path, err)
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

// write appends lines. If a crash left an unfinished line at the end, they begin on a new one.
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

// rotate makes room for n bytes: it renames a full file and drops the oldest rotated one.
func (l *File) rotate(n int64) error {
	info, err := os.Lstat(l.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return errors.New("not a regular file: move it away") // opening a FIFO would block forever
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

// filePath is the path of the i-th rotated file; 0 is the current one.
func (l *File) filePath(i int) string {
	if i == 0 {
		return l.path
	}
	return l.path + "." + strconv.Itoa(i)
}

// Tail returns the last whole lines of the current and the newest rotated file, at most n bytes. If there is no file it
// returns nothing.
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
		return nil, fmt.Errorf("read %s: not a regular file: move it away", path)
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
	if start > 0 { // may begin in the middle of a line
		text = text[bytes.IndexByte(text, '\n')+1:]
	}
	return text[:bytes.LastIndexByte(text, '\n')+1], nil
}
