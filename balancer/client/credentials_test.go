package client

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const token = "correct-horse-battery-staple-0123456789"

// write creates a file with mode 0600 in a new folder and returns its path.
func write(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// serveTLS serves TLS and requests client certificates. It returns its address and credentials for it: its self-signed certificate is the
// CA, and with its key also the client's certificate.
func serveTLS(t *testing.T) (string, Credentials) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%d certificates, %s", len(r.TLS.PeerCertificates), r.Header.Get("Authorization"))
	}))
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	s.StartTLS()
	t.Cleanup(s.Close)
	key, err := x509.MarshalPKCS8PrivateKey(s.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert := write(t, "cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	return s.Listener.Addr().String(), Credentials{
		CAFile: cert, CertFile: cert, KeyFile: write(t, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})),
	}
}

func TestChangesOverTCPCarryCredentials(t *testing.T) {
	tokenFile := write(t, "token", []byte(token+"\n"))
	bearer := func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("Authorization")) }
	address, credentials := serveTLS(t)
	tests := map[string]struct {
		address      string
		credentials  Credentials
		read, change string
	}{
		"none":               {serve(t, "tcp", bearer), Credentials{}, "", ""},
		"token":              {serve(t, "tcp", bearer), Credentials{TokenFile: tokenFile}, "", "Bearer " + token},
		"token, Unix socket": {serve(t, "unix", bearer), Credentials{TokenFile: tokenFile}, "", ""},
		"no token, TLS":      {address, Credentials{CAFile: credentials.CAFile}, "0 certificates, ", "0 certificates, "},
		"token, TLS": {
			address,
			Credentials{CAFile: credentials.CAFile, TokenFile: tokenFile},
			"0 certificates, ",
			"0 certificates, Bearer " + token,
		},
		"certificate":        {address, credentials, "1 certificates, ", "1 certificates, "},
		"unread on a socket": {serve(t, "unix", bearer), Credentials{TokenFile: "/nonexistent", CAFile: "/nonexistent"}, "", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := NewWithCredentials(Agent(), tt.address, tt.credentials)
			if err != nil {
				t.Fatal(err)
			}
			for method, want := range map[string]string{"": tt.read, "POST": tt.change, "DELETE": tt.change} {
				if a, err := c.Do(t.Context(), Request{Method: method, Path: "/"}); err != nil || string(a.Body) != want {
					t.Errorf("%s: %q, %v, want %q", method, a.Body, err, want)
				}
			}
		})
	}
}

func TestUnreadableCredentialsNameTheirFlag(t *testing.T) {
	short := write(t, "token", []byte("short"))
	tests := map[string]struct {
		credentials Credentials
		want        string
	}{
		"token missing":       {Credentials{TokenFile: "/nonexistent"}, "--token-file: open /nonexistent"},
		"token too short":     {Credentials{TokenFile: short}, "at least 32 are required"},
		"CA missing":          {Credentials{CAFile: "/nonexistent"}, "--ca-file: open /nonexistent"},
		"no CA":               {Credentials{CAFile: short}, "it contains no certificate"},
		"key missing":         {Credentials{CertFile: short}, "--cert-file and --key-file belong together"},
		"certificate missing": {Credentials{KeyFile: short}, "--cert-file and --key-file belong together"},
		"no certificate":      {Credentials{CertFile: short, KeyFile: short}, "--cert-file " + short},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := NewWithCredentials(Agent(), "127.0.0.1:1", tt.credentials); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestAFailedHandshakeGivesTheFix(t *testing.T) {
	address, credentials := serveTLS(t)
	_, other := serveTLS(t)
	_, port, _ := net.SplitHostPort(address)
	otherCA := write(t, "ca.pem", unrelatedCA(t))
	tests := map[string]struct {
		address     string
		credentials Credentials
		want        string
	}{
		"daemon without TLS": {serve(t, "tcp", echo), Credentials{CAFile: credentials.CAFile}, "it does not speak TLS: "},
		"another CA":         {address, Credentials{CAFile: otherCA}, "pass the CA that signed its certificate with --ca-file"},
		"the system's CAs": {
			address,
			Credentials{CertFile: other.CertFile, KeyFile: other.KeyFile},
			"pass the CA that signed its certificate with --ca-file",
		},
		"another name": {"localhost:" + port, Credentials{CAFile: credentials.CAFile}, "use a host name that its certificate covers"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := NewWithCredentials(Agent(), tt.address, tt.credentials)
			if err != nil {
				t.Fatal(err)
			}
			if _, err = c.Do(t.Context(), Request{Path: "/"}); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// unrelatedCA makes the certificate of a CA that signed none of the others.
func unrelatedCA(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spec := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, spec, spec, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
