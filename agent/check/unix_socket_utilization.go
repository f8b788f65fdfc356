package check

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/braintree/lb/config"
)

// unixSocketUtilization is a metric that falls when connections wait to be accepted on a Unix socket of this machine.
type unixSocketUtilization struct {
	socketUtilization
	path string // "@…" is an abstract socket
}

func newUnixSocketUtilization(c config.Check, _ Host) Check {
	o := c.Options
	path := o.String("path", "")
	m := unixSocketUtilization{path: path, socketUtilization: socketUtilization{
		weight: c.Weight, timeout: c.Timeout, maxconn: decodeMaxconn(o), name: "UnixSocketUtilization", where: "path: " + path,
	}}
	if name, abstract := strings.CutPrefix(path, "@"); abstract && name != "" {
		path = "/" + name
	}
	problem := badPath(path)
	if problem == "" && len(m.path) > maxSocketPath {
		problem = fmt.Sprintf("exceeds the %d bytes of a socket path", maxSocketPath)
	}
	if problem != "" {
		o.Invalid("path", problem,
			`give the path that the service listens on, such as "/run/webapp.sock", or "@name" for an abstract socket`)
	}
	return m
}

func (m unixSocketUtilization) Run(ctx context.Context) Result {
	use, err := unixSocketUse(ctx, m.path)
	return m.result(ctx, use, err)
}

// unixSocketUse queries the kernel for the listeners at a path and their connections.
func unixSocketUse(ctx context.Context, path string) (socketUse, error) {
	// The kernel identifies a socket by the path it was bound to, which may be /run/x for /var/run/x.
	bound := path
	if target, err := filepath.EvalSymlinks(path); err == nil {
		bound = target
	}
	var use socketUse
	err := dumpSockets(ctx, unixRequest(stateListen), func(message []byte) error {
		s, err := parseUnix(message)
		if err == nil && (s.name == path || s.name == bound) {
			use.listeners++
			use.queued += s.queued
		}
		return err
	})
	if err != nil || use.listeners == 0 {
		return use, err
	}
	// The kernel does not list connections that wait to be accepted: they have no process yet.
	err = dumpSockets(ctx, unixRequest(stateEstablished), func(message []byte) error {
		s, err := parseUnix(message)
		if err == nil && (s.name == path || s.name == bound) {
			use.active++
		}
		return err
	})
	return use, err
}
