package action

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/netx/sse"
)

// followRetryInterval is the wait before following a stream again that ended.
const followRetryInterval = time.Second

// EventsQuery selects events.
type EventsQuery struct {
	Since   *uint64 // only events after this number; nil: the newest
	Cluster string  // "": all
}

func (q EventsQuery) path() string {
	v := url.Values{}
	if q.Since != nil {
		v.Set("since", strconv.FormatUint(*q.Since, 10))
	}
	if q.Cluster != "" {
		v.Set("cluster", q.Cluster)
	}
	return (&url.URL{Path: "/events", RawQuery: v.Encode()}).String()
}

// Events prints the events that the balancer has in memory.
func Events(ctx context.Context, out io.Writer, balancer *client.Client, q EventsQuery, format Format) error {
	for {
		r, err := balancer.Do(ctx, client.Request{Path: q.path(), JSON: true})
		if err == nil {
			err = r.Err()
		}
		if err != nil {
			return err
		}
		var list api.EventList
		if err := r.Decode(&list); err != nil {
			return err
		}
		if list.Missed > 0 && q.Since != nil && *q.Since > 0 {
			if err := writeMissed(out, list.Missed, format); err != nil {
				return err
			}
		}
		for _, e := range list.Events {
			if err := writeEvent(out, e, format); err != nil {
				return err
			}
		}
		if !list.More {
			return nil
		}
		q.Since = &list.Last
	}
}

// FollowEvents prints events as they arrive, until ctx ends. It continues after a restart of the balancer and fails if the balancer refuses
// the stream.
func FollowEvents(ctx context.Context, out io.Writer, balancer *client.Client, q EventsQuery, format Format) error {
	began := false
	for {
		r, err := balancer.Follow(ctx, q.path(), func(frame sse.Event) error {
			began = true
			return printFrame(out, frame, &q, format)
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			return r.Err()
		case !began || !client.Retryable(err):
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followRetryInterval):
		}
	}
}

// printFrame prints one frame of a stream and advances the query past it. A frame is an event, "missed" with a number of events, or,
// without data, the number where the stream begins.
func printFrame(out io.Writer, frame sse.Event, q *EventsQuery, format Format) error {
	number := string(frame.Data)
	if len(frame.Data) == 0 {
		number = frame.ID
	}
	if len(frame.Data) > 0 && frame.Name != "missed" {
		var e event.Event
		if err := json.Unmarshal(frame.Data, &e); err != nil {
			return fmt.Errorf("the stream has an event that is not JSON: %w: is %s listening at that address?", err, client.Balancer().Name)
		}
		q.Since = &e.Number
		return writeEvent(out, e, format)
	}
	n, err := strconv.ParseUint(number, 10, 64)
	switch {
	case err != nil:
		return fmt.Errorf("the stream has %.40q instead of an event's number: is %s listening at that address?", number,
			client.Balancer().Name)
	case frame.Name == "missed":
		return writeMissed(out, n, format)
	}
	q.Since = &n
	return nil
}

func writeMissed(out io.Writer, n uint64, format Format) error {
	if format.JSON {
		_, err := fmt.Fprintf(out, "{\"missed\":%d}\n", n)
		return err
	}
	_, err := fmt.Fprintf(out, "… %d events are no longer in memory: events.log in the balancer's data_dir has them\n", n)
	return err
}

// writeEvent writes one event as one line.
func writeEvent(out io.Writer, e event.Event, format Format) error {
	if format.JSON {
		line, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("event %d: %w", e.Number, err)
		}
		_, err = fmt.Fprintf(out, "%s\n", line)
		return err
	}
	words := []string{strconv.FormatUint(e.Number, 10), e.Time.Local().Format(time.DateTime), string(e.Kind)}
	if e.Cluster != "" {
		words = append(words, e.Cluster)
	}
	if e.Node != "" {
		words = append(words, e.Node)
	}
	switch {
	case e.Old != "" && e.New != "":
		words = append(words, e.Old+" → "+e.New)
	case e.Change != "":
		words = append(words, e.Change)
	case e.Node == "":
		words = append(words, e.Text)
	}
	line := strings.Join(words, "  ")
	for _, why := range []string{e.Cause, e.Err} {
		if why != "" {
			line += ": " + why
		}
	}
	_, err := fmt.Fprintln(out, line)
	return err
}
