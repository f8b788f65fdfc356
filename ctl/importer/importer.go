// Package importer turns the configuration of litmus_paper and of big_brother into the text of an lb.toml.
//
// What is declared is carried over; nothing of the source is run, and nothing is guessed: what lb has not got, or what would have to be
// run to be known, becomes a comment in the text and a Note.
package importer

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/sanitize"
)

// Result is what came of an import.
type Result struct {
	Text    string             // of the lb.toml
	Notes   []Note             // in the order of the source
	Missing config.Diagnostics // what lb needs and the source does not say: until it is added, the text does not load
	Config  *config.Config     // what the text says; of what is missing it has examples
}

// Note says of one thing in the source that it was not carried over, or what lb does otherwise.
type Note struct {
	File string
	Line int // from 1
	Text string
}

// String is the note on one line, without the passwords of URLs.
func (n Note) String() string {
	return sanitize.Line(n.File+":"+strconv.Itoa(n.Line)+": "+config.HidePasswords(n.Text), noteMax)
}

// noteMax bounds a note, in bytes: a few lines of a terminal.
const noteMax = 400

// sizeMax bounds the size of a source file, in bytes.
const sizeMax = 4 << 20

// place is where something stands in the source.
type place struct {
	file      string
	line, end int // first and last line, from 1
}

// notes collects them.
type notes struct{ list []Note }

// add notes something about what stands at a place.
func (n *notes) add(at place, format string, args ...any) {
	n.list = append(n.list, Note{at.file, at.line, fmt.Sprintf(format, args...)})
}

// sorted returns the notes file by file, in the order in which the files were read, and line by line.
func (n *notes) sorted() []Note {
	order := map[string]int{}
	for _, note := range n.list {
		if _, ok := order[note.File]; !ok {
			order[note.File] = len(order)
		}
	}
	slices.SortStableFunc(n.list, func(a, b Note) int {
		return cmp.Or(cmp.Compare(order[a.File], order[b.File]), cmp.Compare(a.Line, b.Line))
	})
	return slices.Compact(n.list) // a default for all clusters is noted once
}

// mistake is that of a source that cannot be read.
func mistake(file string, line int, problem, fix string) config.Diagnostics {
	return config.Diagnostics{{File: file, Line: line, Problem: problem, Fix: fix}}
}

// readSource reads a source file; a pipe will do.
func readSource(path string) (string, error) {
	var data []byte
	f, err := os.Open(path)
	if err == nil {
		defer f.Close() // it is only read
		data, err = io.ReadAll(io.LimitReader(f, sizeMax+1))
	}
	var pathErr *os.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err // the path stands in front already
	}
	switch {
	case err != nil:
		return "", mistake(path, 0, "cannot be read: "+err.Error(), "correct the path")
	case len(data) > sizeMax:
		return "", mistake(path, 0, "is larger than 4 MiB", "name a configuration, this can be none")
	case !utf8.Valid(data):
		return "", mistake(path, 0, "is not UTF-8", "convert it: iconv -f latin1 -t utf-8")
	}
	return string(data), nil
}
