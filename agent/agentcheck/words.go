// Package agentcheck tells HAProxy the health of services over its agent-check protocol: on a port for each service, and on one
// port for all where HAProxy sends the name.
package agentcheck

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"

	"github.com/braintree/lb/agent/score"
)

// State is how a service stands.
type State struct {
	Health   int        // what is reported: 0 to 100, forces counted
	Measured int        // what it would be without a force
	Forced   score.Kind // the force in effect; "" for none
}

// The words and their meaning are HAProxy's, see agent-check in section 5.2 of its configuration manual; the form of the line is
// that of litmus-agent-check 1.6.2.
const (
	down  = "down\t0%\r\n"
	drain = "drain\t0%\r\n"
)

// Words is what HAProxy is told about a service.
//
// A service that is well and that an operator holds at 0, by whichever force, drains: that is no failure, and its connections may
// finish. (Of one with a forced health, litmus-agent-check says that it is ready and up also at 0.)
func (s State) Words() string {
	switch {
	case s.Forced == score.Down, s.Forced == score.Health && s.Health <= 0 && s.Measured > 0:
		return drain
	case s.Health <= 0:
		return down
	}
	return fmt.Sprintf("ready\tup\t%d%%\r\n", min(s.Health, score.Max))
}

// fail takes the server out and shows the reason on HAProxy's statistics page. The space is needed: HAProxy does not know the
// word "fail#reason", and goes on with the server as it was.
func fail(reason string) string { return "fail #" + reason + "\r\n" }

// maxName bounds what a client may send as a name, in bytes; that of a service is shorter.
const maxName = 256

// names is what litmus-agent-check takes as a name.
var names = regexp.MustCompile(`^[A-Za-z0-9_:.-]+$`)

var errName = errors.New(`this is no name of a service: set agent-send to one, such as "webapp\n"`)

// parseName reads the name of a service from what a client sent, up to the first LF, or up to the end of the stream.
func parseName(sent []byte) (string, error) {
	line, _, _ := bytes.Cut(sent, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) > maxName || !names.Match(line) {
		return "", errName
	}
	return string(line), nil
}
