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

// nameLength is how much of a certificate's name is logged, in bytes.
const nameLength = 100

// Guard decides who may change something. It may be used by several goroutines.
type Authorizer struct {
	daemon   Daemon
	socket   string // path of the control socket, to name it
	keys     atomic.Pointer[Policy]
	group    uint32 // of the control socket, as it was bound
	hasGroup bool
}

// Guard makes the guard of a daemon whose control socket is bound with the same keys.
func (d Daemon) NewAuthorizer(socket string, k *Policy) *Authorizer {
	g := &Authorizer{daemon: d, socket: socket, group: k.group, hasGroup: k.hasGroup}
	g.keys.Store(k)
	return g
}

// Use puts the keys of a reload in the place of those before, but for the group of the control socket. It holds for connections
// that are open, too.
func (g *Authorizer) SetPolicy(k *Policy) { g.keys.Store(k) }

// Refusal says why a change was not taken, and what to do about it.
type Refusal struct {
	Status int    // 401 where the client lacks a token or certificate, else 403
	Text   string // one line
}

// Header sets what goes with the status. The connection ends, so that nobody waits for a body that nobody wants.
func (f *Refusal) SetHeader(h http.Header) {
	h.Set("Connection", "close")
	if f.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="lb"`)
	}
}

// Admit decides about a change. The request that it returns is the same, with what it was admitted by for Peer. The command,
// such as "lb ctl force", is what makes the change on the machine itself.
type AuthorizeFunc func(r *http.Request, command string) (*http.Request, *Refusal)

// Socket admits changes over the control socket: of root, of the daemon's own user, and of members of the control group.
func (g *Authorizer) AuthorizeSocket(r *http.Request, command string) (*http.Request, *Refusal) {
	cred, ok := r.Context().Value(credentialsKey{}).(PeerCredentials)
	switch {
	case !ok:
		return r, forbidden("The kernel does not tell who asks, so no change is taken. Use `%s` on the machine itself.", command)
	case cred.UID == 0, int(cred.UID) == os.Geteuid(), g.hasGroup && cred.member(g.group):
		return r, nil
	case g.hasGroup:
		return r, forbidden("User %d may change nothing here: it is in none of the groups that may. Add it to the group of %s.control_group (and log in again), or use `sudo %s`.",
			cred.UID, g.daemon.Section, command)
	}
	return r, forbidden("User %d may change nothing here. Use `sudo %s`, or set %s.control_group to a group that the user is in.", cred.UID, command, g.daemon.Section)
}

// TCP admits changes over TCP: by client certificate, by token, or from this machine itself where trust_loopback is set.
func (g *Authorizer) AuthorizeTCP(r *http.Request, command string) (*http.Request, *Refusal) {
	k := g.keys.Load()
	if FromWebPage(r) {
		return r, forbidden("Changes are not taken from web pages. Use `%s`.", command)
	}
	name, err := k.certificate(r, time.Now())
	if name != "" && err == nil {
		return known(r, fmt.Sprintf("%s with the certificate of %s", r.RemoteAddr, name)), nil
	}
	if token, given := bearer(r); given {
		if refusal := g.judge(k, r, token, command); refusal != nil {
			return r, refusal
		}
		return known(r, r.RemoteAddr+" with the token"), nil
	}
	switch {
	case err != nil:
		return r, forbidden("The certificate of %s is not taken: %s. Show one for clients that a CA of %s.tls.client_ca_file has signed, or use `%s` on the machine itself.",
			name, sanitize.Line(err.Error(), nameLength), g.daemon.Section, command)
	case k.loopback && FromLoopback(r):
		return r, nil
	}
	return r, g.nothing(k, command)
}

// judge says why a token is not good; nil when it is.
func (g *Authorizer) judge(k *Policy, r *http.Request, token, command string) *Refusal {
	switch {
	case !k.hasToken:
		return forbidden("No token is taken here. Set %s.token_file on that machine and reload, or use `%s` there.", g.daemon.Section, command)
	case k.tls != nil && secureState(r) == nil && !FromLoopback(r):
		return forbidden("The token came unencrypted, so others may know it. Put a new one into %s.token_file, and ask over TLS: `%s --ca-file FILE --token-file FILE`.",
			g.daemon.Section, command)
	case !k.matches(token):
		return unauthorized("The token is wrong. Use the one that %s.token_file has on that machine (a new one counts there after a reload), or use `%s` on it.",
			g.daemon.Section, command)
	}
	return nil
}

// nothing is the refusal of a client that showed nothing to be known by.
func (g *Authorizer) nothing(k *Policy, command string) *Refusal {
	flag := " --" + g.daemon.Section + " HOST:PORT"
	var by []string
	if k.hasToken && k.tls != nil {
		by = append(by, fmt.Sprintf("the token (`%s%s --ca-file FILE --token-file FILE`)", command, flag))
	} else if k.hasToken {
		by = append(by, fmt.Sprintf("the token (`%s%s --token-file FILE`)", command, flag))
	}
	if k.clients != nil {
		by = append(by, fmt.Sprintf("a client certificate (`%s%s --ca-file FILE --cert-file FILE --key-file FILE`)", command, flag))
	}
	switch {
	case len(by) > 0:
		return unauthorized("A change over TCP needs %s. Or use `%s` on the machine itself, which asks its socket %s.", strings.Join(by, " or "), command, g.socket)
	case k.loopback:
		return forbidden("Changes are taken from 127.0.0.1 and ::1 only. Use `%s` on the machine itself, or set %s.token_file there.", command, g.daemon.Section)
	}
	return forbidden("Changes are not taken over TCP. Use `%s` on the machine itself, which asks its socket %s; or set there %s.token_file or %s.tls.client_ca_file "+
		"to take them from other machines, or %s.trust_loopback = true to take them from 127.0.0.1 and ::1.",
		command, g.socket, g.daemon.Section, g.daemon.Section, g.daemon.Section)
}

// bearer is the token that the request shows (RFC 6750).
func bearer(r *http.Request) (string, bool) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(token), strings.EqualFold(scheme, "Bearer")
}

// certificate names the client by its certificate; "" when it shows none, or none counts. The error says why it is not good. The CAs
// are those of now, not those of when the connection began.
func (k *Policy) certificate(r *http.Request, now time.Time) (string, error) {
	state := secureState(r)
	if k.clients == nil || state == nil || len(state.PeerCertificates) == 0 {
		return "", nil
	}
	leaf, between := state.PeerCertificates[0], x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: k.clients, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if unknown := (x509.UnknownAuthorityError{}); errors.As(err, &unknown) {
		err = errors.New("it is signed by an unknown CA") // the library's own words differ from case to case
	}
	return nameOf(leaf), err
}

// nameOf is how a log names a certificate.
func nameOf(c *x509.Certificate) string {
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
	return fmt.Sprintf("%q", sanitize.Line(name, nameLength))
}

func forbidden(format string, args ...any) *Refusal {
	return &Refusal{http.StatusForbidden, fmt.Sprintf(format, args...)}
}

func unauthorized(format string, args ...any) *Refusal {
	return &Refusal{http.StatusUnauthorized, fmt.Sprintf(format, args...)}
}
