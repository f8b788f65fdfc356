package sse

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// maxEvent bounds an event that is read, in bytes with all its lines. Those of the daemons are below 4 KiB.
const maxEvent = 64 << 10

// ErrTooLong says that an event goes on beyond 64 KiB.
var ErrTooLong = errors.New("an event is longer than 64 KiB")

// Event is one that was read. A comment, such as a heartbeat, is an event without a name and data.
type Event struct {
	ID, Name string
	Data     []byte // valid until the next one is read
}

// Reader reads a stream (https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation), in which lines end with
// LF or CR LF; no daemon of ours ends them with CR alone.
type Reader struct {
	in   *bufio.Reader
	data []byte // of the event that is being read
	line []byte // that did not fit into the buffer
}

// NewReader reads by a buffer. What is read ahead stays there.
func NewReader(in *bufio.Reader) *Reader { return &Reader{in: in} }

// Next reads up to the blank line that ends an event. The end of what is read is io.ErrUnexpectedEOF.
func (r *Reader) Next() (Event, error) {
	var e Event
	r.data = r.data[:0]
	for left := maxEvent; ; {
		line, err := r.readLine(left)
		if err != nil {
			return Event{}, err
		}
		left -= len(line) + 1
		if len(line) == 0 {
			e.Data = bytes.TrimSuffix(r.data, []byte("\n"))
			return e, nil
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "id":
			e.ID = string(value)
		case "event":
			e.Name = string(value)
		case "data":
			r.data = append(append(r.data, value...), '\n')
		}
	}
}

// Comments tells how many of these bytes, which begin where an event could, are whole lines that say nothing: comments, such as heartbeats, and blank ones.
func LeadingComments(data []byte) int {
	n := 0
	for line := range bytes.Lines(data) {
		if line[len(line)-1] != '\n' || line[0] != ':' && len(bytes.TrimRight(line, "\r\n")) > 0 {
			break
		}
		n += len(line)
	}
	return n
}

// readLine reads a line of at most that many bytes, without its end.
func (r *Reader) readLine(most int) ([]byte, error) {
	r.line = r.line[:0]
	for {
		part, err := r.in.ReadSlice('\n')
		if len(r.line)+len(part) > most {
			return nil, ErrTooLong
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			r.line = append(r.line, part...)
			continue
		case errors.Is(err, io.EOF):
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		}
		if len(r.line) > 0 {
			r.line = append(r.line, part...)
			part = r.line
		}
		return bytes.TrimSuffix(part[:len(part)-1], []byte("\r")), nil
	}
}
