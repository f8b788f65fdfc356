package ctl

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/ctl/cmdline"
	"github.com/braintree/lb/netx/sse"
)

// followAgain is how long is waited before a stream that ended is followed again.
const followAgain = time.Second

// events shows what happened on a balancer.
func (con Console) events() *cli.Command {
	return &cli.Command{
		Name:  "events",
		Usage: "show what happened on this load balancer: every change of a weight or a state, and its cause",
		Flags: balancerFlags(
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on with what comes, also over restarts of the balancer"},
			&cli.Uint64Flag{Name: "since", Usage: "only events after the one with this `NUMBER` (default: the newest thousand; with --follow what comes)"},
			&cli.StringFlag{Name: "cluster", Usage: "only events of the cluster with this `NAME`"},
			jsonFlag(),
		),
		Description: `With --json, each event is a line of JSON. docs/events.md has all kinds of events.

Examples:
  lb ctl events
  lb ctl events --follow --cluster webapp
  lb ctl events --since 0 --json`,
		Action: func(c *cli.Context) error {
			if err := cmdline.Arguments(c, 0, 0, ""); err != nil {
				return err
			}
			b, err := con.balancer(c)
			if err != nil {
				return err
			}
			q := EventsQuery{Cluster: c.String("cluster")}
			if c.IsSet("since") {
				since := c.Uint64("since")
				q.Since = &since
			}
			if c.Bool("follow") {
				return FollowEvents(c.Context, con.Out, b, q, con.look(c))
			}
			return Events(c.Context, con.Out, b, q, con.look(c))
		},
	}
}

// EventsQuery says which events are wanted.
type EventsQuery struct {
	Since   *uint64 // only those after this number; nil: the newest
	Cluster string  // "" is of all
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
func Events(ctx context.Context, out io.Writer, c *client.Client, q EventsQuery, look Look) error {
	for {
		a, err := c.Ask(ctx, client.Question{Path: q.path(), JSON: true})
		if err == nil {
			err = a.Err(client.Balancer())
		}
		if err != nil {
			return err
		}
		var list api.EventList
		if err := a.Decode(client.Balancer(), &list); err != nil {
			return err
		}
		if list.Missed > 0 && q.Since != nil && *q.Since > 0 {
			if err := writeMissed(out, list.Missed, look); err != nil {
				return err
			}
		}
		for _, e := range list.Events {
			if err := writeEvent(out, e, look); err != nil {
				return err
			}
		}
		if !list.More {
			return nil
		}
		q.Since = &list.Last
	}
}

// FollowEvents prints events as they come, until ctx ends. It survives restarts of the balancer, but not its refusal.
func FollowEvents(ctx context.Context, out io.Writer, c *client.Client, q EventsQuery, look Look) error {
	began := false
	for {
		a, err := c.Follow(ctx, q.path(), func(f sse.Event) error {
			began = true
			return followed(out, f, &q, look)
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			return a.Err(client.Balancer())
		case !began || !client.Again(err):
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followAgain):
		}
	}
}

// followed prints one event of a stream, and has the query go on from it.
func followed(out io.Writer, f sse.Event, q *EventsQuery, look Look) error {
	number := string(f.Data)
	if len(f.Data) == 0 {
		number = f.ID // where the stream begins
	}
	if len(f.Data) > 0 && f.Name != "missed" {
		var e event.Event
		if err := json.Unmarshal(f.Data, &e); err != nil {
			return fmt.Errorf("the stream has an event that is not JSON: %w: is it %s that listens there?", err, client.Balancer().Name)
		}
		q.Since = &e.Number
		return writeEvent(out, e, look)
	}
	n, err := strconv.ParseUint(number, 10, 64)
	switch {
	case err != nil:
		return fmt.Errorf("the stream has %.40q for a number: is it %s that listens there?", number, client.Balancer().Name)
	case f.Name == "missed":
		return writeMissed(out, n, look)
	}
	q.Since = &n
	return nil
}

func writeMissed(out io.Writer, n uint64, look Look) error {
	if look.JSON {
		_, err := fmt.Fprintf(out, "{\"missed\":%d}\n", n)
		return err
	}
	_, err := fmt.Fprintf(out, "… %d events are not in memory any more: the balancer's %s has them\n", n, event.FileName)
	return err
}

// writeEvent prints an event in a line.
func writeEvent(out io.Writer, e event.Event, look Look) error {
	if look.JSON {
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
