package client

import (
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/braintree/lb/netx/listen"
)

// Proof is what a client shows over TCP, so that it may make changes: files of the machine that it runs on. A Unix socket needs none:
// there the kernel identifies the caller.
type Proof struct {
	TokenFile string // the daemon's token; "" is none
	CAFile    string // what the daemon's certificate is judged by; with it, TLS is spoken
	CertFile  string // the client's own certificate, with KeyFile; with them, TLS is spoken
	KeyFile   string
}

// read gives the token, "" for none, and what TLS is spoken with, nil for plain HTTP.
func (p Proof) read(host string) (token string, secure *tls.Config, err error) {
	if p.TokenFile != "" {
		if token, err = listen.ReadToken(p.TokenFile); err != nil {
			return "", nil, fmt.Errorf("--token-file: %w", err)
		}
	}
	if (p.CertFile == "") != (p.KeyFile == "") {
		return "", nil, errors.New("--cert-file and --key-file belong together: give both")
	}
	if p.CAFile == "" && p.CertFile == "" {
		return token, nil, nil
	}
	secure = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if p.CAFile != "" { // else those that the system trusts
		if secure.RootCAs, err = listen.ReadCAs(p.CAFile); err != nil {
			return "", nil, fmt.Errorf("--ca-file: %w", err)
		}
	}
	if p.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(p.CertFile, p.KeyFile)
		if err != nil {
			return "", nil, fmt.Errorf("--cert-file %s and --key-file %s: %w: "+
				"give a certificate in PEM and the private key that belongs to it", p.CertFile, p.KeyFile, err)
		}
		// It is shown whatever CAs the daemon names: if it is not good, the daemon then says why.
		secure.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	return token, secure, nil
}
