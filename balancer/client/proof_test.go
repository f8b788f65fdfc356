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

// write puts a file that only its owner may read into a folder of its own.
func write(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// secure serves TLS that asks for client certificates, and returns its address and files: its certificate, which signs itself, as
// CA, and the same with its key as a client's.
func secure(t *testing.T) (string, Proof) {
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
	return s.Listener.Addr().String(), Proof{
		CAFile: cert, CertFile: cert, KeyFile: write(t, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})),
	}
}

func TestProofIsShownOverTCPWithChanges(t *testing.T) {
	tokenFile := write(t, "token", []byte(token+"\n"))
	bearer := func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("Authorization")) }
	address, all := secure(t)
	tests := map[string]struct {
		address      string
		proof        Proof
		read, change string
	}{
		"nothing":              {serve(t, "tcp", bearer), Proof{}, "", ""},
		"token":                {serve(t, "tcp", bearer), Proof{TokenFile: tokenFile}, "", "Bearer " + token},
		"token, Unix socket":   {serve(t, "unix", bearer), Proof{TokenFile: tokenFile}, "", ""},
		"no token, TLS":        {address, Proof{CAFile: all.CAFile}, "0 certificates, ", "0 certificates, "},
		"token, TLS":           {address, Proof{CAFile: all.CAFile, TokenFile: tokenFile}, "0 certificates, ", "0 certificates, Bearer " + token},
		"certificate":          {address, all, "1 certificates, ", "1 certificates, "},
		"nothing to be needed": {serve(t, "unix", bearer), Proof{TokenFile: "/nonexistent", CAFile: "/nonexistent"}, "", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := With(tt.proof, Agent(), tt.address)
			if err != nil {
				t.Fatal(err)
			}
			for method, want := range map[string]string{"": tt.read, "POST": tt.change, "DELETE": tt.change} {
				if a, err := c.Ask(t.Context(), Question{Method: method, Path: "/"}); err != nil || string(a.Body) != want {
					t.Errorf("%s: %q, %v, want %q", method, a.Body, err, want)
				}
			}
		})
	}
}

func TestProofThatCannotBeReadNamesItsFlag(t *testing.T) {
	short := write(t, "token", []byte("short"))
	tests := map[string]struct {
		proof Proof
		want  string
	}{
		"token missing":       {Proof{TokenFile: "/nonexistent"}, "--token-file: open /nonexistent"},
		"token too short":     {Proof{TokenFile: short}, "at least 32 are required"},
		"CA missing":          {Proof{CAFile: "/nonexistent"}, "--ca-file: open /nonexistent"},
		"no CA":               {Proof{CAFile: short}, "it contains no certificate"},
		"key missing":         {Proof{CertFile: short}, "--cert-file and --key-file belong together"},
		"certificate missing": {Proof{KeyFile: short}, "--cert-file and --key-file belong together"},
		"no certificate":      {Proof{CertFile: short, KeyFile: short}, "--cert-file " + short},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := With(tt.proof, Agent(), "127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestTLSThatFailsSaysHowToMend(t *testing.T) {
	address, all := secure(t)
	_, other := secure(t)
	_, port, _ := net.SplitHostPort(address)
	elsewhere := write(t, "ca.pem", elsewhereCA(t))
	tests := map[string]struct {
		address string
		proof   Proof
		want    string
	}{
		"a daemon without TLS": {serve(t, "tcp", echo), Proof{CAFile: all.CAFile}, "it speaks no TLS: "},
		"another CA":           {address, Proof{CAFile: elsewhere}, "give the CA that signed its certificate with --ca-file"},
		"the system's CAs":     {address, Proof{CertFile: other.CertFile, KeyFile: other.KeyFile}, "give the CA that signed its certificate with --ca-file"},
		"another name":         {"localhost:" + port, Proof{CAFile: all.CAFile}, "ask it by a name that its certificate has"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := With(tt.proof, Agent(), tt.address)
			if err != nil {
				t.Fatal(err)
			}
			if _, err = c.Ask(t.Context(), Question{Path: "/"}); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// elsewhereCA makes the certificate of a CA that signed nothing here.
func elsewhereCA(t *testing.T) []byte {
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
