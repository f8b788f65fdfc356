package sse

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// maxEventSize limits one event, in bytes over all its lines. The daemons' own events are below 4 KiB.
const maxEventSize = 64 << 10

// errTooLong means that an event exceeds 64 KiB.
var errTooLong = errors.New("an event is longer than 64 KiB")

// Event is one event of a stream. A comment, such as a heartbeat, reads as an event without name and data.
type Event struct {
	ID, Name string
	Data     []byte // valid until the next call of Next
}

// Reader parses an event stream. Lines end with LF or CR LF; CR alone, which the specification allows, is not supported
// because our daemons do not send it. See
// https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation.
type Reader struct {
	in   *bufio.Reader
	data []byte // of the current event
	line []byte // a line longer than the bufio buffer
}

// NewReader returns a Reader on in. Bytes read ahead stay in its buffer.
func NewReader(in *bufio.Reader) *Reader { return &Reader{in: in} }

// Next reads to the blank line that ends an event. It returns io.ErrUnexpectedEOF at the end of the stream.
func (r *Reader) Next() (Event, error) {
	var e Event
	r.data = r.data[:0]
	for remaining := maxEventSize; ; {
		line, err := r.readLine(remaining)
		if err != nil {
			return Event{}, err
		}
		remaining -= len(line) + 1
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

// LeadingComments returns how many bytes at the start of data are whole comment lines, such as heartbeats, or blank
// lines. data must begin at a line start outside an event.
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

// readLine reads a line of at most limit bytes, including its end, which it strips.
func (r *Reader) readLine(limit int) ([]byte, error) {
	r.line = r.line[:0]
	for {
		part, err := r.in.ReadSlice('\n')
		if len(r.line)+len(part) > limit {
			return nil, errTooLong
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
