package client

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/braintree/lb/netx/sse"
)

// silence is how long a stream may be without a byte: three of its heartbeats, and time for a slow way.
const silence = 3*sse.DefaultHeartbeat + 2*time.Second

// Follow reads a stream of events and gives each to take, until ctx ends, the stream does, or take fails. An answer that is no stream is
// given back, without an error. The end that a daemon announces is an *endedError, one that it does not an *UnreachableError.
func (c *Client) Follow(ctx context.Context, path string, take func(sse.Event) error) (Answer, error) {
	following, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	hangs := time.AfterFunc(askTimeout, func() { cancel(context.DeadlineExceeded) })
	defer hangs.Stop()
	fail := func(err error) (Answer, error) {
		if ctx.Err() == nil && following.Err() != nil {
			err = context.Cause(following)
		}
		return Answer{}, c.unreachable(err)
	}
	req, err := c.request(following, http.MethodGet, path, nil)
	if err != nil {
		return Answer{}, err
	}
	req.Header.Set("Accept", "text/event-stream")
	resp, err := c.http.Do(req)
	if err != nil {
		return fail(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return c.answer(resp)
	}
	for r := sse.NewReader(bufio.NewReader(resp.Body)); ; {
		e, err := r.Next()
		switch {
		case err != nil:
			return fail(err)
		case e.Name == "end":
			return Answer{}, &endedError{why: string(e.Data)}
		}
		hangs.Reset(silence)
		if len(e.Data) == 0 && e.ID == "" {
			continue // a heartbeat
		}
		if err := take(e); err != nil {
			return Answer{}, err
		}
	}
}

// endedError reports that the daemon ended a stream.
type endedError struct{ why string }

// Error gives the daemon's reason.
func (e *endedError) Error() string { return "the stream has ended: " + e.why }

// Again tells whether it is worth to follow again after this error: the daemon has gone, and may come back.
func Again(err error) bool {
	var ended *endedError
	var gone *UnreachableError
	return errors.As(err, &ended) || errors.As(err, &gone)
}
