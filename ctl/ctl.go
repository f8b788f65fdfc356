// Package ctl is the operator's tool: it shows and forces the health of services on an app node, shows, starts, stops and drains on a load
// balancer and tells what happened there, over the daemons' sockets or TCP; it checks and imports configurations; and it
// writes Pacemaker's, and tells whether Pacemaker, lb balance and the kernel agree.
package ctl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"

	"github.com/braintree/lb/ctl/client"
	"github.com/braintree/lb/ctl/cmdline"
)

// ErrDown says that the service asked for is down. What was printed already says so; there is nothing to add.
var ErrDown = errors.New("the service is down")

// RefusedError says that a daemon refused the request: it is wrong, not the daemon (an answer with a 4xx status).
type RefusedError struct {
	Text     string
	NotFound bool // because it knows no such service or cluster, or there is nothing to delete (404)
}

// Error returns the text.
func (e *RefusedError) Error() string { return e.Text }

// serviceName is what the agent takes as the name of a service.
var serviceName = regexp.MustCompile(`^[A-Za-z0-9_:.-]+$`)

// checkName refuses what can be no name, before it becomes part of a path.
func checkName(what, name string) error {
	if !serviceName.MatchString(name) || name == "." || name == ".." {
		return cmdline.Usagef("%q can be no %s: names have letters, digits and any of _ : . -", name, what)
	}
	return nil
}

// judge turns the status of an answer that a command did not expect into an error.
func judge(a client.Answer, daemon client.Daemon) error {
	switch {
	case a.Status < 400:
		return nil
	case a.Status < 500:
		return &RefusedError{Text: fmt.Sprintf("%s refuses: %s", daemon.Name, a.Line())}
	}
	return fmt.Errorf("%s answers %d: %s; look at `journalctl -u %s`", daemon.Name, a.Status, a.Line(), daemon.Unit)
}

// notFound is the refusal of what a daemon does not know.
func notFound(format string, args ...any) error {
	return &RefusedError{Text: fmt.Sprintf(format, args...), NotFound: true}
}

// print writes an answer as it was served, with a newline at its end.
func print(out io.Writer, a client.Answer) error {
	body := a.Body
	if len(body) > 0 && !bytes.HasSuffix(body, []byte("\n")) {
		body = append(bytes.Clone(body), '\n')
	}
	_, err := out.Write(body)
	return err
}

// printJSON writes a JSON answer, indented. Anything else is an error: then this is not the daemon it should be.
func printJSON(out io.Writer, a client.Answer, daemon client.Daemon) error {
	var b bytes.Buffer
	if err := json.Indent(&b, bytes.TrimSpace(a.Body), "", "  "); err != nil {
		return notJSON(daemon, a)
	}
	b.WriteByte('\n')
	_, err := out.Write(b.Bytes())
	return err
}

func notJSON(daemon client.Daemon, a client.Answer) error {
	return fmt.Errorf("the answer %q is not JSON: is it %s that listens there?", a.Line(), daemon.Name)
}
