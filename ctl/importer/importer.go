// Package importer converts configurations of litmus_paper and big_brother to the text of an lb.toml.
//
// It converts declarations only. It never runs code from the source and never guesses: a setting that lb does not have, or that is known
// only at run time, becomes a comment in the text and a Note.
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

// Result is the outcome of an import.
type Result struct {
	Text    string          // the lb.toml
	Notes   []Note          // in source order
	Missing config.Mistakes // settings that lb requires and the source lacks; Text does not load until they are added
	Config  *config.Config  // Text as loaded, with examples in place of missing settings
}

// Note describes one part of the source that was not converted, or that behaves differently in lb.
type Note struct {
	File string
	Line int // from 1
	Text string
}

// String returns the note on one line, with passwords in URLs hidden.
func (n Note) String() string {
	return sanitize.Line(n.File+":"+strconv.Itoa(n.Line)+": "+config.HidePasswords(n.Text), maxNoteLength)
}

// maxNoteLength limits a note, in bytes: a few lines of a terminal.
const maxNoteLength = 400

// maxSourceSize limits a source file, in bytes.
const maxSourceSize = 4 << 20

// location is a range of lines in the source.
type location struct {
	file      string
	line, end int // first and last line, from 1
}

// notes collects the notes of an import.
type notes struct{ list []Note }

// add adds a note about a location.
func (n *notes) add(at location, format string, args ...any) {
	n.list = append(n.list, Note{at.file, at.line, fmt.Sprintf(format, args...)})
}

// sorted returns the notes in the order in which the files were read, by line within a file, without duplicates.
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
	return slices.Compact(n.list) // a default is noted again for every cluster that inherits it
}

// sourceMistake reports a source that cannot be converted at all.
func sourceMistake(file string, line int, problem, fix string) config.Mistakes {
	return config.Mistakes{{File: file, Line: line, Problem: problem, Fix: fix}}
}

// readSource reads a source file. A pipe works too.
func readSource(path string) (string, error) {
	var data []byte
	f, err := os.Open(path)
	if err == nil {
		defer f.Close() // it is only read
		data, err = io.ReadAll(io.LimitReader(f, maxSourceSize+1))
	}
	var pathErr *os.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err // the mistake already starts with the path
	}
	switch {
	case err != nil:
		return "", sourceMistake(path, 0, "cannot be read: "+err.Error(), "check the path")
	case len(data) > maxSourceSize:
		return "", sourceMistake(path, 0, "is larger than 4 MiB", "check the path: no configuration is that large")
	case !utf8.Valid(data):
		return "", sourceMistake(path, 0, "is not UTF-8", "convert it: iconv -f latin1 -t utf-8")
	}
	return string(data), nil
}
