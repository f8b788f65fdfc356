package ctl

import (
	"context"
	"io"
	"net/http"
	"regexp"

	"github.com/braintree/lb/balancer/client"
)

// Look says how to show what a daemon answers.
type Look struct {
	JSON  bool // as JSON, for programs
	Plain bool // without colours: the output is no terminal
}

// colours are the terminal sequences in the agent's list.
var colours = regexp.MustCompile("\x1b\\[[0-9;]*m")

// List prints the agent's services: what each reports, what is measured, and whether and why it is forced.
func List(ctx context.Context, out io.Writer, c *client.Client, look Look) error {
	a, err := c.Ask(ctx, client.Question{Path: "/", JSON: look.JSON})
	if err != nil {
		return err
	}
	if err := a.Err(client.Agent()); err != nil {
		return err
	}
	if look.JSON {
		return printJSON(out, a, client.Agent())
	}
	if look.Plain {
		a.Body = colours.ReplaceAll(a.Body, nil)
	}
	return print(out, a)
}

// Status prints the health of one service as the agent serves it. The error is nil when the service is up, ErrDown when it is
// down, and a *client.RefusedError when the agent does not know it.
func Status(ctx context.Context, out io.Writer, c *client.Client, service string, look Look) error {
	if err := client.CheckName("service", service); err != nil {
		return err
	}
	a, err := c.Ask(ctx, client.Question{Path: "/" + service + "/status", JSON: look.JSON})
	if err != nil {
		return err
	}
	show := print
	if look.JSON {
		show = func(out io.Writer, a client.Answer) error { return printJSON(out, a, client.Agent()) }
	}
	switch a.Status {
	case http.StatusOK, http.StatusServiceUnavailable, http.StatusNotFound:
		if err := show(out, a); err != nil {
			return err
		}
	}
	switch a.Status {
	case http.StatusServiceUnavailable:
		return ErrDown
	case http.StatusNotFound:
		return client.NotFound("this agent has no service %q: `lb ctl list` shows those it has", service)
	}
	return a.Err(client.Agent())
}
