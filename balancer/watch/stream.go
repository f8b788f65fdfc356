package watch

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/netx/sanitize"
	"github.com/braintree/lb/netx/sse"
)

const (
	// The times between two heartbeats that an agent can be asked for.
	quickestHeartbeat = 100 * time.Millisecond
	slowestHeartbeat  = time.Minute
	// beatsPerLease is how many heartbeats fit into a lease: one may be late, or lost and sent again.
	beatsPerLease = 2
)

var (
	// errNoStream says that there is no stream to ask for.
	errNoStream = errors.New("the node has no stream that this config could use")
	// errLease says that a stream has been without a sign of life for its whole lease.
	errLease = errors.New("no heartbeat in time")
)

// Opener is a Poller that can open the node's stream as well.
type Opener interface {
	Poller
	// Open opens the stream by the context's deadline, or says why there is none. The stream ends when it has had no sign of life for a lease.
	Open(ctx context.Context, lease time.Duration) (*Stream, error)
}

// Stream is an agent's stream of the health of one service (GET /SERVICE/watch). It is used by one goroutine at a time, but for Close.
type Stream struct {
	conn    *bounded
	in      *bufio.Reader // of conn
	events  *sse.Reader   // of in
	service string
	lease   time.Duration
	last    decide.Reading // of the newest event, and At of the newest sign of life
	held    *holding       // nil where nothing is
}

// streamRequest makes the request for the stream beside a status page, up to the time between heartbeats, and names the service; nil where the
// path is not that of an agent's status page.
func (p *httpPoller) streamRequest(u *url.URL) ([]byte, string) {
	path, isStatus := strings.CutSuffix(u.EscapedPath(), "/status")
	service, err := url.PathUnescape(path[strings.LastIndex(path, "/")+1:])
	if !isStatus || service == "" || err != nil {
		return nil, ""
	}
	query := ""
	if u.RawQuery != "" {
		query = u.RawQuery + "&"
	}
	return []byte(path + "/watch?" + query + "heartbeat="), service
}

// Open implements Opener. Until the stream has ended the poller must not be used, for it lends its buffer.
func (p *httpPoller) Open(ctx context.Context, lease time.Duration) (*Stream, error) {
	if p.stream == nil || lease/beatsPerLease < quickestHeartbeat {
		return nil, errNoStream
	}
	beat := min(max(shortest(lease)/beatsPerLease, quickestHeartbeat), slowestHeartbeat).Truncate(time.Millisecond)
	// In HTTP/1.0 the stream comes as it is, and not in chunks: what is read of the connection is the events, and nothing of the answer is
	// kept. With Connection a refusal leaves the connection open.
	resp, err := p.ask(ctx, p.request(string(p.stream)+beat.String()+" HTTP/1.0", "Accept: text/event-stream\r\nConnection: keep-alive"))
	if err != nil {
		return nil, err
	}
	if err := isStream(resp, beat); err != nil {
		if _, unread := p.finish(ctx, resp); unread != nil {
			p.Close()
		}
		return nil, err
	}
	conn := p.conn
	p.conn, conn.left = nil, math.MaxInt
	return newStream(conn, p.in, p.service, lease), nil
}

// newStream reads a connection by a buffer.
func newStream(conn *bounded, in *bufio.Reader, service string, lease time.Duration) *Stream {
	return &Stream{conn: conn, in: in, events: sse.NewReader(in), service: service, lease: lease}
}

// isStream tells why an answer is not a stream with heartbeats as often as they were asked for.
func isStream(resp *http.Response, beat time.Duration) error {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if resp.StatusCode != http.StatusOK || kind != "text/event-stream" {
		return fmt.Errorf("no stream: status %d, content type %.40q", resp.StatusCode, kind)
	}
	if resp.ContentLength >= 0 || len(resp.TransferEncoding) > 0 {
		return errors.New("a stream that is no plain one, though it was asked for in HTTP/1.0")
	}
	seconds, err := strconv.ParseFloat(resp.Header.Get("X-Heartbeat"), 64)
	if err != nil || !(seconds > 0) || seconds > beat.Seconds()*1.01 { // NaN is not above 0
		return fmt.Errorf("a stream whose heartbeat, %.40q s, is not each %s", resp.Header.Get("X-Heartbeat"), beat)
	}
	return nil
}

// Next waits for the next sign of life and gives the newest reading, and whether it came just now: with a heartbeat, it did not.
func (s *Stream) Next() (r decide.Reading, news bool, err error) {
	if s.held != nil && s.held.on {
		if err := s.held.wait(); err != nil {
			return r, false, err
		}
	}
	// A server that goes on sending without ever coming to an end does not live.
	if err := s.conn.SetReadDeadline(time.Now().Add(s.lease)); err != nil {
		return r, false, err
	}
	e, err := s.events.Next()
	switch {
	case err != nil && late(err):
		return r, false, errLease
	case err != nil:
		return r, false, err
	}
	switch e.Name {
	case "health":
		health, err := parseHealth(e.Data, s.service)
		if err != nil {
			return r, false, err
		}
		s.last.Answered = true
		s.last.Health, s.last.Detail = health.read()
		s.last.Forced = health.forced()
		news = true
	case "end", "error":
		return r, false, fmt.Errorf("the agent ends the stream: %s", sanitize.Line(string(e.Data), causeLength))
	}
	s.last.At = time.Now()
	return s.last, news, nil
}

// Lend has leases look after the stream while heartbeats are held back, and tell of signs of life then, from another goroutine.
func (s *Stream) Lend(leases *HeartbeatMonitor, heard func(at time.Time)) {
	s.held = newHolding(s.conn, s.lease, leases, heard)
}

// Hold says that only news matter until Next gives some, and heartbeats just have to come: then they wake nobody. What has been read already comes first,
// for the rest of an event must not be held back.
func (s *Stream) Hold() {
	if s.held != nil && s.in.Buffered() == 0 {
		s.held.begin()
	}
}

// Close ends the stream. It may be called more than once, and while Next waits.
func (s *Stream) Close() {
	_ = s.conn.Close() // nothing is lost with it
	if s.held != nil {
		s.held.leases.drop(s.held)
	}
}
