// Package agentcheck reports the health of services to HAProxy over its agent-check protocol: on one port for
// each service, or on a shared port to which HAProxy sends the name of the service.
package agentcheck

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"

	"github.com/braintree/lb/agent/score"
)

// State is the state of a service.
type State struct {
	Health   int        // 0 to 100, with forces
	Measured int        // the health without forces
	Forced   score.Kind // the force in effect; "": none
}

// Section 5.2 of HAProxy's configuration manual describes the words of an agent-check. The format of the line
// is litmus-agent-check 1.6.2's.
const (
	down  = "down\t0%\r\n"
	drain = "drain\t0%\r\n"
)

// reply is the line that HAProxy gets about a service.
//
// A healthy service that an operator forces to 0, with any kind of force, drains: it has not failed, and its
// connections may finish. (litmus-agent-check reports a service with a forced health as ready and up, even at
// 0.)
func (s State) reply() string {
	switch {
	case s.Forced == score.Down, s.Forced == score.Health && s.Health <= 0 && s.Measured > 0:
		return drain
	case s.Health <= 0:
		return down
	}
	return fmt.Sprintf("ready\tup\t%d%%\r\n", min(s.Health, score.Max))
}

// fail takes the server down and shows the reason on HAProxy's statistics page. The space is required:
// HAProxy ignores "fail#reason", which it does not know, and does not change the server.
func fail(reason string) string { return "fail #" + reason + "\r\n" }

// maxName is the maximum length of a name from a client, in bytes. Names of services are shorter.
const maxName = 256

// names is what litmus-agent-check accepts as a name.
var names = regexp.MustCompile(`^[A-Za-z0-9_:.-]+$`)

var errName = errors.New(`not a service name: set agent-send to one, such as "webapp\n"`)

// parseName reads the name of a service from a client: up to the first LF or the end of the stream.
func parseName(sent []byte) (string, error) {
	line, _, _ := bytes.Cut(sent, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) > maxName || !names.Match(line) {
		return "", errName
	}
	return string(line), nil
}
