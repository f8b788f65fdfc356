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
	// The heartbeat intervals that agents accept.
	minHeartbeat = 100 * time.Millisecond
	maxHeartbeat = time.Minute
	// heartbeatsPerTimeout is the least number of heartbeats in a heartbeat timeout.
	heartbeatsPerTimeout = 2
)

var (
	errNoStream    = errors.New("node has no stream for this configuration")
	errNoHeartbeat = errors.New("no heartbeat in time")
	errPace        = errors.New("heartbeats are to come at another pace")
)

// streamOpener is a Poller that can open the node's stream, too.
type streamOpener interface {
	Poller
	// openStream opens the stream by the context's deadline. The stream fails when it receives nothing for a lease of the pace.
	openStream(ctx context.Context, p pace) (*stream, error)
}

// stream is the open event stream of an agent, about one service. Next is for one goroutine.
type stream struct {
	conn    *limitedConn
	in      *bufio.Reader
	events  *sse.Reader
	service string
	timeout time.Duration // without a heartbeat: the lease
	last    decide.Reading
	parking *parking // nil when its heartbeats cannot be held back
}

// streamTarget returns the request target of the stream that belongs to a status page, up to the value of the heartbeat parameter, and the
// name of the service; nil if the URL is not an agent's status page.
func streamTarget(u *url.URL) (target []byte, service string) {
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

// openStream implements streamOpener. The poller must not be used until the stream has ended: it lends its buffer.
func (p *httpPoller) openStream(ctx context.Context, wanted pace) (*stream, error) {
	if p.streamTarget == nil || wanted.limit/heartbeatsPerTimeout < minHeartbeat {
		return nil, errNoStream
	}
	// HTTP/1.0 avoids chunks: the connection carries nothing but events, so the response need not be kept. Connection: keep-alive keeps
	// the connection open when the agent refuses the stream. An older agent ignores slowest and grants what is asked.
	target := fmt.Sprintf("%s%s&slowest=%s HTTP/1.0", p.streamTarget, wanted.asked, wanted.slowest)
	resp, err := p.roundTrip(ctx, p.request(target, "Accept: text/event-stream\r\nConnection: keep-alive"))
	if err != nil {
		return nil, err
	}
	granted, err := checkStream(resp, wanted.slowest)
	if err != nil {
		if _, bodyErr := p.readBody(ctx, resp); bodyErr != nil {
			p.Close()
		}
		return nil, err
	}
	conn := p.conn
	p.conn, conn.remaining = nil, math.MaxInt
	return newStream(conn, p.in, p.service, wanted.lease(granted)), nil
}

// newStream reads events from conn through in.
func newStream(conn *limitedConn, in *bufio.Reader, service string, timeout time.Duration) *stream {
	return &stream{conn: conn, in: in, events: sse.NewReader(in), service: service, timeout: timeout}
}

// checkStream returns the interval between the stream's heartbeats, and an error unless the response is a stream and they are frequent
// enough.
func checkStream(resp *http.Response, slowest time.Duration) (granted time.Duration, err error) {
	mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if resp.StatusCode != http.StatusOK || mediaType != "text/event-stream" {
		return 0, fmt.Errorf("no stream: status %d, content type %.40q", resp.StatusCode, mediaType)
	}
	if resp.ContentLength >= 0 || len(resp.TransferEncoding) > 0 {
		return 0, errors.New("stream has a length or a transfer encoding, although it was requested in HTTP/1.0")
	}
	seconds, err := strconv.ParseFloat(resp.Header.Get("X-Heartbeat"), 64)
	if err != nil || !(seconds > 0) || seconds > slowest.Seconds()*1.01 { // NaN is not above 0
		return 0, fmt.Errorf("stream has a heartbeat interval of %.40q s, need %s", resp.Header.Get("X-Heartbeat"), slowest)
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

// Next waits for the next event or heartbeat and returns the newest reading. isEvent is false for a heartbeat, which confirms it.
func (s *stream) Next() (r decide.Reading, isEvent bool, err error) {
	if s.parking != nil && s.parking.parked {
		if err := s.parking.wait(); err != nil {
			return r, false, err
		}
	}
	// Also ends a stream that sends bytes but never completes an event or comment.
	if err := s.conn.SetReadDeadline(time.Now().Add(s.timeout)); err != nil {
		return r, false, err
	}
	e, err := s.events.Next()
	switch {
	case err != nil && isTimeout(err):
		return r, false, errNoHeartbeat
	case err != nil:
		return r, false, err
	}
	switch e.Name {
	case "health":
		health, err := parseHealthEvent(e.Data, s.service)
		if err != nil {
			return r, false, err
		}
		s.last.Answered = true
		s.last.Health, s.last.Detail = health.result()
		s.last.Forced = health.forced()
		isEvent = true
	case "end", "error":
		return r, false, fmt.Errorf("agent ended the stream: %s", sanitize.Line(string(e.Data), maxReason))
	}
	s.last.At = time.Now()
	return s.last, isEvent, nil
}

// parkUnder makes a monitor watch the stream while it is parked.
func (s *stream) parkUnder(life parkedLife) { s.parking = newParking(s.conn, s.timeout, life) }

// park holds heartbeats back until the next event: until then none of them wakes the stream's goroutine. With an event partly read it
// does nothing, as the rest must not be held back.
func (s *stream) park() {
	if s.parking != nil && s.in.Buffered() == 0 {
		s.parking.park()
	}
}

// Close ends the stream. It may be called more than once, and while Next waits.
func (s *stream) Close() {
	_ = s.conn.Close() // nothing to lose
	if s.parking != nil {
		s.parking.monitor.remove(s.parking)
	}
}
