package client

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"regexp"
	"syscall"
)

// RefusedError reports that a daemon refused a request: the request is wrong, not the daemon (a response with a 4xx status).
type RefusedError struct {
	Text     string
	NotFound bool // the daemon has no such service or cluster, or there is nothing to delete (404)
}

// Error returns the text.
func (e *RefusedError) Error() string { return e.Text }

// NotFound makes the *RefusedError for something that a daemon does not have.
func NotFound(format string, args ...any) error {
	return &RefusedError{Text: fmt.Sprintf(format, args...), NotFound: true}
}

// NameError reports that a name cannot be the name of a service or cluster.
type NameError struct{ What, Name string }

// Error says which characters a name may have.
func (e *NameError) Error() string {
	return fmt.Sprintf("%q cannot be the name of a %s: names consist of letters, digits and any of _ : . -", e.Name, e.What)
}

// validName matches what both daemons accept as the name of a service or cluster.
var validName = regexp.MustCompile(`^[A-Za-z0-9_:.-]+$`)

// CheckName returns a *NameError unless name can be the name of a service or cluster (what), so that nothing else becomes part of a path.
func CheckName(what, name string) error {
	if !validName.MatchString(name) || name == "." || name == ".." {
		return &NameError{what, name}
	}
	return nil
}

// UnreachableError reports that a daemon gave no complete response.
type UnreachableError struct {
	Daemon  Daemon
	Address string
	Err     error
}

// unreachable wraps an error of net/http, without the method and address that net/http puts in front.
func (c *Client) unreachable(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return &UnreachableError{Daemon: c.daemon, Address: c.address, Err: err}
}

// Error names the daemon, its address, the cause and the fix.
func (e *UnreachableError) Error() string {
	return fmt.Sprintf("cannot reach %s at %s: %s; %s", e.Daemon.Name, e.Address, e.cause(), e.fix())
}

// Unwrap returns the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// cause gives the innermost reason in few words.
func (e *UnreachableError) cause() string {
	var errno syscall.Errno
	switch {
	case errors.Is(e.Err, context.DeadlineExceeded):
		return "timed out"
	case errors.As(e.Err, &errno):
		return errno.Error()
	}
	return e.Err.Error()
}

// fix says what to do next.
func (e *UnreachableError) fix() string {
	var (
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		unknownCA x509.UnknownAuthorityError
	)
	switch {
	case errors.Is(e.Err, http.ErrSchemeMismatch):
		return "it does not speak TLS: set cert_file in its configuration, or omit --ca-file and --cert-file"
	case errors.As(e.Err, &unknownCA):
		return "pass the CA that signed its certificate with --ca-file"
	case errors.As(e.Err, &hostname):
		return "use a host name that its certificate covers"
	case errors.As(e.Err, &invalid):
		return "give it a valid certificate (cert_file in its configuration), then reload it"
	case errors.Is(e.Err, context.DeadlineExceeded):
		return fmt.Sprintf("it is running but hangs: look at `journalctl -u %s`, then `systemctl restart %s`", e.Daemon.Unit, e.Daemon.Unit)
	case errors.Is(e.Err, fs.ErrPermission):
		return "only root, the daemon's user and members of its control_group may use the socket: try sudo"
	case errors.Is(e.Err, fs.ErrNotExist), errors.Is(e.Err, syscall.ECONNREFUSED):
		return fmt.Sprintf("is it running? `systemctl start %s`", e.Daemon.Unit)
	}
	return fmt.Sprintf("look at `systemctl status %s`", e.Daemon.Unit)
}
