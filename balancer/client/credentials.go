package client

import (
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/braintree/lb/netx/listen"
)

// Credentials authorise changes over TCP. Each is a file on the client's machine; "" is none.
type Credentials struct {
	TokenFile string // the daemon's bearer token
	CAFile    string // verifies the daemon's certificate; turns TLS on
	CertFile  string // the client's certificate, with KeyFile; turns TLS on
	KeyFile   string
}

// load reads the files. It returns the token, "" for none, and the TLS settings, nil for plain HTTP.
func (c Credentials) load(host string) (token string, tlsConfig *tls.Config, err error) {
	if c.TokenFile != "" {
		if token, err = listen.ReadToken(c.TokenFile); err != nil {
			return "", nil, fmt.Errorf("--token-file: %w", err)
		}
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		return "", nil, errors.New("--cert-file and --key-file belong together: give both")
	}
	if c.CAFile == "" && c.CertFile == "" {
		return token, nil, nil
	}
	tlsConfig = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if c.CAFile != "" { // otherwise the system's CAs
		if tlsConfig.RootCAs, err = listen.ReadCAs(c.CAFile); err != nil {
			return "", nil, fmt.Errorf("--ca-file: %w", err)
		}
	}
	if c.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return "", nil, fmt.Errorf("--cert-file %s and --key-file %s: %w: give a certificate in PEM and its private key",
				c.CertFile, c.KeyFile, err)
		}
		// Send the certificate regardless of the CAs that the daemon lists: a daemon that rejects it reports why.
		tlsConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	return token, tlsConfig, nil
}
