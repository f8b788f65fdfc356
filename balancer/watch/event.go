package watch

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/netx/oneline"
)

// maxEvent bounds an event of a stream, in bytes with all its lines. An agent's are below 2 KiB.
const maxEvent = 64 << 10

// errEventTooLong says that an event goes on beyond maxEvent.
var errEventTooLong = errors.New("an event is longer than 64 KiB")

// frame is what a stream sends at a time: an event, or comments alone, such as a heartbeat, which have no data.
type frame struct {
	event string // its type; "" is none
	data  []byte // valid until the next frame is read
}

// frames reads server-sent events
// (https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation), in which lines end with LF or CR LF; no agent
// ends them with CR alone. Ids and retry times are of no use here: the newest event says all there is to know.
type frames struct {
	in   *bufio.Reader
	data []byte // of the event that is being read
	line []byte // that did not fit into the buffer
}

// next reads up to the blank line that ends an event. Comments are a frame without waiting for more.
func (f *frames) next() (frame, error) {
	var fr frame
	f.data = f.data[:0]
	for left := maxEvent; ; {
		line, err := f.readLine(left)
		if err != nil {
			return frame{}, err
		}
		left -= len(line) + 1
		if len(line) == 0 {
			fr.data = bytes.TrimSuffix(f.data, []byte("\n"))
			return fr, nil
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "event":
			fr.event = string(value)
		case "data":
			f.data = append(append(f.data, value...), '\n')
		}
	}
}

// readLine reads a line of at most that many bytes, without its end.
func (f *frames) readLine(most int) ([]byte, error) {
	f.line = f.line[:0]
	for {
		part, err := f.in.ReadSlice('\n')
		if len(f.line)+len(part) > most {
			return nil, errEventTooLong
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			f.line = append(f.line, part...)
			continue
		case errors.Is(err, io.EOF):
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		}
		if len(f.line) > 0 {
			f.line = append(f.line, part...)
			part = f.line
		}
		return bytes.TrimSuffix(part[:len(part)-1], []byte("\r")), nil
	}
}

// healthEvent is what matters here of the data of an agent's event "health".
type healthEvent struct {
	Service *string `json:"service"`
	Health  *int64  `json:"health"`
	Reason  string  `json:"reason"`
	Forced  *struct {
		Reason string `json:"reason"`
	} `json:"forced"`
}

// read gives the health that an event tells about a service, 0 or more, and where it comes from, in the words that polling has for it.
func (e healthEvent) read() (int, string) {
	health := int(min(max(*e.Health, 0), decide.MaxWeight+1))
	switch {
	case health > 0:
		return health, fmt.Sprintf("health %d", *e.Health)
	case e.Forced != nil:
		return 0, oneline.Clean("forced: "+e.Forced.Reason, causeLength)
	case e.Reason != "":
		return 0, oneline.Clean(e.Reason, causeLength)
	}
	return 0, fmt.Sprintf("health %d", *e.Health)
}

// parseHealth reads the data of an event "health", which must be about that service.
func parseHealth(data []byte, service string) (healthEvent, error) {
	var e healthEvent
	if err := json.Unmarshal(data, &e); err != nil {
		return e, fmt.Errorf("an event that cannot be read: %w", err)
	}
	switch {
	case e.Health == nil || e.Service == nil:
		return e, errors.New("an event without a health or a service")
	case *e.Service != service:
		return e, fmt.Errorf("an event about %.40q instead of %.40q", *e.Service, service)
	}
	return e, nil
}
