package action

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/braintree/lb/agent/api"
	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/ctl/usage"
)

// Force is a health that an operator forces, or a force to delete.
type Force struct {
	Kind    string // down, up or health
	Health  int    // for health: the upper limit, 0–100
	Service string // "": every service of the agent
	Delete  bool   // delete the force
	Reason  string
	Ask     bool   // read the reason from standard input if Reason is empty
	For     string // how long, such as 2h or 3d; "": until it is deleted
	Who     string // the operator's user name
	Confirm bool   // fail if another force takes precedence
}

const forceUsage = "usage: lb ctl force down|up|health N [SERVICE] [-r REASON] [--for TIME] [-d]"

// ParseForce reads the arguments of force. Forcing a health requires a number; deleting one accepts it. A number is never taken for a
// service, nor a service for a number.
func ParseForce(args []string, del bool) (Force, error) {
	f := Force{Delete: del}
	if len(args) == 0 {
		return f, usage.Errorf("missing state: %s", forceUsage)
	}
	f.Kind, args = args[0], args[1:]
	switch f.Kind {
	case "down", "up":
	case "health":
		var err error
		if f.Health, args, err = parseHealth(args, del); err != nil {
			return f, err
		}
	default:
		return f, usage.Errorf("cannot force %q: %s", f.Kind, forceUsage)
	}
	if len(args) > 1 {
		return f, usage.Errorf("unexpected argument %q: quote a reason of several words, as in -r \"apt upgrades\"", args[1])
	}
	if len(args) == 1 {
		f.Service = args[0]
		return f, client.CheckName("service", f.Service)
	}
	return f, nil
}

// parseHealth reads the number in front of args and returns the remaining arguments.
func parseHealth(args []string, del bool) (int, []string, error) {
	if len(args) == 0 {
		if del {
			return 0, nil, nil
		}
		return 0, nil, usage.Errorf("health needs a number from 0 to 100: lb ctl force health N [SERVICE]")
	}
	n, err := strconv.Atoi(args[0])
	switch {
	case err != nil && del:
		return 0, args, nil
	case err != nil:
		return 0, nil, usage.Errorf("health needs a number from 0 to 100 before the service, not %q: lb ctl force health N [SERVICE]",
			args[0])
	case n < 0 || n > 100:
		return 0, nil, usage.Errorf("health %d is out of range: use 0 to 100", n)
	}
	return n, args[1:], nil
}

// Run asks for a reason if one is needed, sends the force to the agent and prints the agent's response.
func (f Force) Run(ctx context.Context, s Streams, agent *client.Client) error {
	if f.Delete && f.For != "" {
		return usage.Errorf("--for sets how long a force lasts: remove it, or remove -d")
	}
	if f.Ask && !f.Delete && cleanReason(f.Reason) == "" {
		var err error
		if f.Reason, err = askReason(s.In, s.Out, "forced"); err != nil {
			return err
		}
	}
	return f.send(ctx, s.Out, agent)
}

func (f Force) send(ctx context.Context, out io.Writer, agent *client.Client) error {
	r, err := agent.Do(ctx, f.request())
	if err != nil {
		return err
	}
	if r.Status == http.StatusNotFound {
		if err := printResponse(out, r, Format{}); err != nil {
			return err
		}
		return f.notFound()
	}
	if err := r.Err(); err != nil {
		return err
	}
	if err := printResponse(out, r, Format{}); err != nil {
		return err
	}
	if f.For != "" && !f.Delete && !bytes.Contains(r.Body, []byte("\nIt ends by itself at ")) {
		return errors.New("this agent does not support --for: the force is in place and lasts until it is deleted")
	}
	if f.Confirm && !f.Delete {
		return f.confirm(ctx, agent)
	}
	return nil
}

// confirm asks the agent whether the force is in effect. An agent that cannot say so is no error.
func (f Force) confirm(ctx context.Context, agent *client.Client) error {
	services := make([]api.Service, 1)
	path, v := "/"+f.Service+"/status", any(&services[0])
	var all api.Report
	if f.Service == "" {
		path, v = "/", &all
	}
	r, err := agent.Do(ctx, client.Request{Path: path, JSON: true})
	if err != nil || r.Decode(v) != nil {
		return nil
	}
	if f.Service == "" {
		services = all.Services
	}
	for _, s := range services {
		if by := s.Forced; by != nil && !f.isIn(*by) {
			return fmt.Errorf("the force is stored, but %s stays at health %d: the force %s takes precedence (by %s): %s",
				s.Name, s.Health, by.Kind, strings.TrimSuffix(by.Who+": "+by.Reason, ": "), howToEnd(s.Name, *by))
		}
	}
	return nil
}

// isIn reports whether the force has the same effect as the one that is in effect.
func (f Force) isIn(by api.Force) bool {
	return by.Kind == f.Kind && (f.Kind != "health" || by.Value != nil && *by.Value == f.Health)
}

// howToEnd is the command that ends another force of a service.
func howToEnd(service string, by api.Force) string {
	if by.All {
		service = ""
	}
	return "`" + strings.Join(strings.Fields("lb ctl force "+by.Kind+" "+service+" -d"), " ") + "` ends it"
}

func (f Force) request() client.Request {
	path := "/" + f.Kind
	if f.Service != "" {
		path = "/" + f.Service + path
	}
	values := url.Values{"who": {f.Who}}
	reason := cleanReason(f.Reason)
	if f.Delete {
		if reason != "" {
			values.Set("reason", reason)
		}
		return client.Request{Method: http.MethodDelete, Path: path + "?" + values.Encode()}
	}
	values.Set("reason", reason)
	if f.Kind == "health" {
		values.Set("health", strconv.Itoa(f.Health))
	}
	if f.For != "" {
		values.Set("for", f.For)
	}
	return client.Request{Method: http.MethodPost, Path: path, Form: values}
}

// notFound says what the agent does not have: the service, or a force to delete.
func (f Force) notFound() error {
	if !f.Delete {
		return noSuchService(f.Service)
	}
	target := "this agent as a whole"
	if f.Service != "" {
		target = f.Service
	}
	state := "forced " + f.Kind
	if f.Kind == "health" {
		state = "forced to a health"
	}
	return client.NotFound("nothing to delete: %s is not %s: `lb ctl list` shows what is forced", target, state)
}
