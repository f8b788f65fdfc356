package listen

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/braintree/lb/netx/sanitize"
)

// maxNameLength limits the name of a certificate in logs and messages, in bytes.
const maxNameLength = 100

// Authorizer decides who may make changes. It is safe for concurrent use.
type Authorizer struct {
	daemon   Daemon
	socket   string // path of the control socket, for messages
	policy   atomic.Pointer[Policy]
	group    uint32 // of the control socket, fixed when it was bound
	hasGroup bool
}

// NewAuthorizer returns the authorizer of a daemon whose control socket was bound with the same policy.
func (d Daemon) NewAuthorizer(socket string, p *Policy) *Authorizer {
	a := &Authorizer{daemon: d, socket: socket, group: p.group, hasGroup: p.hasGroup}
	a.policy.Store(p)
	return a
}

// SetPolicy replaces the policy, except for the group of the control socket. It applies to open connections, too.
func (a *Authorizer) SetPolicy(p *Policy) { a.policy.Store(p) }

// Refusal says why a change was refused and what to do about it.
type Refusal struct {
	Status int    // 401 if the client lacks a valid token or certificate, else 403
	Text   string // one line
}

// SetHeader sets the response headers. It closes the connection, so that the request body need not be read.
func (r *Refusal) SetHeader(h http.Header) {
	h.Set("Connection", "close")
	if r.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="lb"`)
	}
}

// AuthorizeFunc decides about a change. It returns the request, which now carries the caller's identity for Peer.
// command, such as "lb ctl force", is the command for this change on the machine itself; messages suggest it.
type AuthorizeFunc func(r *http.Request, command string) (*http.Request, *Refusal)

// AuthorizeSocket permits changes over the control socket by root, the daemon's own user and members of the control
// group.
func (a *Authorizer) AuthorizeSocket(r *http.Request, command string) (*http.Request, *Refusal) {
	cred, ok := r.Context().Value(credentialsKey{}).(PeerCredentials)
	switch {
	case !ok:
		return r, forbidden("Cannot identify the caller; change refused. Use `%s` on the machine itself.", command)
	case cred.UID == 0, int(cred.UID) == os.Geteuid(), a.hasGroup && cred.inGroup(a.group):
		return r, nil
	case a.hasGroup:
		return r, forbidden("User %d is not permitted to make changes. "+
			"Add it to the group of %s.control_group (and log in again), or use `sudo %s`.", cred.UID, a.daemon.Section, command)
	}
	return r, forbidden("User %d is not permitted to make changes. Use `sudo %s`, or set %s.control_group to a group of that user.",
		cred.UID, command, a.daemon.Section)
}

// AuthorizeTCP permits changes over TCP by client certificate, by token, or from this machine itself if trust_loopback
// is set.
func (a *Authorizer) AuthorizeTCP(r *http.Request, command string) (*http.Request, *Refusal) {
	p := a.policy.Load()
	if fromWebPage(r) {
		return r, forbidden("Changes from web pages are refused. Use `%s`.", command)
	}
	name, err := p.verifyClient(r, time.Now())
	if name != "" && err == nil {
		return withIdentity(r, fmt.Sprintf("%s with the certificate of %s", r.RemoteAddr, name)), nil
	}
	if token, given := bearerToken(r); given {
		if refusal := a.checkToken(p, r, token, command); refusal != nil {
			return r, refusal
		}
		return withIdentity(r, r.RemoteAddr+" with the token"), nil
	}
	switch {
	case err != nil:
		return r, forbidden("The certificate of %s is not accepted: %s. "+
			"Use a client certificate signed by a CA of %s.tls.client_ca_file, or use `%s` on the machine itself.",
			name, sanitize.Line(err.Error(), maxNameLength), a.daemon.Section, command)
	case p.trustLoopback && fromLoopback(r):
		return r, nil
	}
	return r, a.missingCredentials(p, command)
}

// checkToken returns why the token is not accepted; nil if it is.
func (a *Authorizer) checkToken(p *Policy, r *http.Request, token, command string) *Refusal {
	switch {
	case !p.hasToken:
		return forbidden("No token is configured. Set %s.token_file on that machine and reload, or use `%s` there.",
			a.daemon.Section, command)
	case p.tls != nil && tlsState(r) == nil && !fromLoopback(r):
		return forbidden("The token was sent unencrypted and may be compromised. "+
			"Put a new one into %s.token_file and use TLS: `%s --ca-file FILE --token-file FILE`.",
			a.daemon.Section, command)
	case !p.tokenMatches(token):
		return unauthorized("The token is wrong. "+
			"Use the one in %s.token_file on that machine (a new one takes effect after a reload), or use `%s` there.",
			a.daemon.Section, command)
	}
	return nil
}

// missingCredentials is the refusal for a client without a token or certificate.
func (a *Authorizer) missingCredentials(p *Policy, command string) *Refusal {
	flag := " --" + a.daemon.Section + " HOST:PORT"
	var methods []string
	if p.hasToken && p.tls != nil {
		methods = append(methods, fmt.Sprintf("the token (`%s%s --ca-file FILE --token-file FILE`)", command, flag))
	} else if p.hasToken {
		methods = append(methods, fmt.Sprintf("the token (`%s%s --token-file FILE`)", command, flag))
	}
	if p.clientCAs != nil {
		methods = append(methods, fmt.Sprintf("a client certificate (`%s%s --ca-file FILE --cert-file FILE --key-file FILE`)",
			command, flag))
	}
	switch {
	case len(methods) > 0:
		return unauthorized("A change over TCP needs %s. Or use `%s` on the machine itself (over its socket %s).",
			strings.Join(methods, " or "), command, a.socket)
	case p.trustLoopback:
		return forbidden("Changes are accepted from 127.0.0.1 and ::1 only. Use `%s` on the machine itself, or set %s.token_file there.",
			command, a.daemon.Section)
	}
	return forbidden("Changes are not accepted over TCP. Use `%s` on the machine itself (over its socket %s). "+
		"To accept them from other machines, set %s.token_file or %s.tls.client_ca_file there; "+
		"to accept them from 127.0.0.1 and ::1, set %s.trust_loopback = true.",
		command, a.socket, a.daemon.Section, a.daemon.Section, a.daemon.Section)
}

// bearerToken returns the token of the Authorization header (RFC 6750).
func bearerToken(r *http.Request) (string, bool) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(token), strings.EqualFold(scheme, "Bearer")
}

// verifyClient returns the name in the client's certificate and why the certificate is not accepted. The name is "" if
// there is no certificate or no CA to check it. It uses the current CAs, which may be newer than the connection.
func (p *Policy) verifyClient(r *http.Request, now time.Time) (string, error) {
	state := tlsState(r)
	if p.clientCAs == nil || state == nil || len(state.PeerCertificates) == 0 {
		return "", nil
	}
	leaf, intermediates := state.PeerCertificates[0], x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		intermediates.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: p.clientCAs, Intermediates: intermediates, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if unknown := (x509.UnknownAuthorityError{}); errors.As(err, &unknown) {
		err = errors.New("it is signed by an unknown CA") // the library's message varies
	}
	return certificateName(leaf), err
}

// certificateName returns the name of a certificate for logs.
func certificateName(c *x509.Certificate) string {
	name := c.Subject.CommonName
	switch {
	case name != "":
	case len(c.DNSNames) > 0:
		name = c.DNSNames[0]
	case len(c.EmailAddresses) > 0:
		name = c.EmailAddresses[0]
	case len(c.URIs) > 0:
		name = c.URIs[0].String()
	default:
		name = "serial number " + c.SerialNumber.String()
	}
	return fmt.Sprintf("%q", sanitize.Line(name, maxNameLength))
}

func forbidden(format string, args ...any) *Refusal {
	return &Refusal{http.StatusForbidden, fmt.Sprintf(format, args...)}
}

func unauthorized(format string, args ...any) *Refusal {
	return &Refusal{http.StatusUnauthorized, fmt.Sprintf(format, args...)}
}
