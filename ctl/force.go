package ctl

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/user"
	"strconv"
	"strings"
	"unicode"

	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/ctl/usage"
)

// Force is a health that an operator sets, or takes back.
type Force struct {
	Kind    string // down, up or health
	Health  int    // for health: the ceiling, 0–100
	Service string // "" is every service of this agent
	Delete  bool   // take it back
	Reason  string // why
	For     string // how long, such as 2h or 3d; "" is until it is deleted
	Who     string // the operator's user name
}

const forceUsage = "lb ctl force down|up|health N [SERVICE] [-r REASON] [--for TIME] [-d]"

// ParseForce reads the arguments of force. A number is needed to force a health and may be given to take it back; it is never
// taken for a service, nor a service for it.
func ParseForce(args []string, del bool) (Force, error) {
	f := Force{Delete: del}
	if len(args) == 0 {
		return f, usage.Errorf("what should be forced? %s", forceUsage)
	}
	f.Kind, args = args[0], args[1:]
	switch f.Kind {
	case "down", "up":
	case "health":
		var err error
		if f.Health, args, err = healthArgument(args, del); err != nil {
			return f, err
		}
	default:
		return f, usage.Errorf("cannot force %q: %s", f.Kind, forceUsage)
	}
	if len(args) > 1 {
		return f, usage.Errorf("too many words from %q on: a reason of several words is quoted, as in -r \"apt upgrades\"", args[1])
	}
	if len(args) == 1 {
		f.Service = args[0]
		return f, client.CheckName("service", f.Service)
	}
	return f, nil
}

// healthArgument takes the number off the front of args.
func healthArgument(args []string, del bool) (int, []string, error) {
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
		return 0, nil, usage.Errorf("health needs a number from 0 to 100 before the service, not %q: lb ctl force health N [SERVICE]", args[0])
	case n < 0 || n > 100:
		return 0, nil, usage.Errorf("health %d is not between 0 and 100", n)
	}
	return n, args[1:], nil
}

// AskReason asks for the reason on out and reads one line of in. What is not done without one is such as "forced".
func AskReason(in io.Reader, out io.Writer, done string) (string, error) {
	if _, err := io.WriteString(out, "Reason? "); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(io.LimitReader(in, 64<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the reason: %w", err)
	}
	if CleanReason(line) == "" {
		if !strings.HasSuffix(line, "\n") {
			_, _ = io.WriteString(out, "\n") // end the line of the question
		}
		return "", &usage.Error{Text: "nothing was " + done + ": a reason is needed, as in -r \"apt upgrades\"", Option: true}
	}
	return line, nil
}

// CleanReason makes one printable line of a reason.
func CleanReason(reason string) string {
	line := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(reason, "�"))
	return strings.TrimSpace(line)
}

// Who names the person at the keyboard: who called sudo, else the user of the process.
func Who(getenv func(string) string) string {
	if name := getenv("SUDO_USER"); name != "" {
		return name
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return getenv("USER")
}

// Do sends the force to the agent and prints its answer.
func (f Force) Do(ctx context.Context, out io.Writer, c *client.Client) error {
	q := client.Question{Method: http.MethodPost, Path: "/" + f.Kind, Form: url.Values{}}
	if f.Service != "" {
		q.Path = "/" + f.Service + q.Path
	}
	if f.Delete {
		q.Method, q.Form = http.MethodDelete, nil
		query := url.Values{"who": {f.Who}}
		if reason := CleanReason(f.Reason); reason != "" {
			query.Set("reason", reason)
		}
		q.Path += "?" + query.Encode()
	} else {
		q.Form.Set("reason", CleanReason(f.Reason))
		q.Form.Set("who", f.Who)
		if f.Kind == "health" {
			q.Form.Set("health", strconv.Itoa(f.Health))
		}
		if f.For != "" {
			q.Form.Set("for", f.For)
		}
	}
	a, err := c.Ask(ctx, q)
	if err != nil {
		return err
	}
	if a.Status == http.StatusNotFound {
		if err := print(out, a); err != nil {
			return err
		}
		return f.missing()
	}
	if err := a.Err(client.Agent()); err != nil {
		return err
	}
	if err := print(out, a); err != nil {
		return err
	}
	if f.For != "" && !f.Delete && !bytes.Contains(a.Body, []byte("ends by itself at")) {
		return errors.New("this agent does not know --for: the force is there, and stays until it is deleted")
	}
	return nil
}

// missing says which of the two things was not found.
func (f Force) missing() error {
	if !f.Delete {
		return client.NotFound("this agent has no service %q: `lb ctl list` shows those it has", f.Service)
	}
	whole := "this agent as a whole"
	if f.Service != "" {
		whole = f.Service
	}
	state := "forced " + f.Kind
	if f.Kind == "health" {
		state = "forced to a health"
	}
	return client.NotFound("nothing to delete: %s is not %s: `lb ctl list` shows what is forced", whole, state)
}
