package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/braintree/lb/netx/sse"
)

// maxSilence is how long a stream may send nothing: three heartbeats, and time for a slow network.
const maxSilence = 3*sse.DefaultHeartbeat + 2*time.Second

// Follow reads a stream of events and calls handle with each, until ctx or the stream ends or handle fails. It returns a response that is
// not a stream, with a nil error. A stream that the daemon ends is a *streamEndedError, a broken one an *UnreachableError.
func (c *Client) Follow(ctx context.Context, path string, handle func(sse.Event) error) (Response, error) {
	streaming, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(defaultTimeout, func() { cancel(context.DeadlineExceeded) })
	defer watchdog.Stop()
	fail := func(err error) (Response, error) {
		if ctx.Err() == nil && streaming.Err() != nil {
			err = context.Cause(streaming)
		}
		return Response{}, c.unreachable(err)
	}
	req, err := c.newHTTPRequest(streaming, http.MethodGet, path, nil)
	if err != nil {
		return Response{}, err
	}
	req.Header.Set("Accept", "text/event-stream")
	resp, err := c.http.Do(req)
	if err != nil {
		return fail(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return c.readResponse(resp)
	}
	for r := sse.NewReader(bufio.NewReader(resp.Body)); ; {
		e, err := r.Next()
		switch {
		case err != nil:
			return fail(err)
		case e.Name == "end":
			return Response{}, &streamEndedError{Daemon: c.daemon, Reason: string(e.Data)}
		}
		watchdog.Reset(maxSilence)
		if len(e.Data) == 0 && e.ID == "" {
			continue // a heartbeat
		}
		if err := handle(e); err != nil {
			return Response{}, err
		}
	}
}

// streamEndedError reports that a daemon ended a stream, and its reason.
type streamEndedError struct {
	Daemon Daemon
	Reason string
}

// Error gives the daemon's reason.
func (e *streamEndedError) Error() string {
	return fmt.Sprintf("%s ended the stream: %s", e.Daemon.Name, e.Reason)
}

// Retryable reports whether following again may succeed after this error: the daemon is gone and may come back.
func Retryable(err error) bool {
	var ended *streamEndedError
	var unreachable *UnreachableError
	return errors.As(err, &ended) || errors.As(err, &unreachable)
}
