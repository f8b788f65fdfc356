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

	"github.com/braintree/lb/balancer/client"
)

// ErrDown says that the service asked for is down. What was printed already says so; there is nothing to add.
var ErrDown = errors.New("the service is down")

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
		return fmt.Errorf("the answer %q is not JSON: does %s listen there?", a.Line(), daemon.Name)
	}
	b.WriteByte('\n')
	_, err := out.Write(b.Bytes())
	return err
}
