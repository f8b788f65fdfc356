package listen

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/braintree/lb/config"
)

const (
	minToken = 32 // bytes; 128 bits of randomness in hexadecimal
	maxToken = 4096
	maxPEM   = 1 << 20 // bytes of a file with certificates or a key
)

// Keys are what clients are known by, as read from the files and names of the configuration.
type Policy struct {
	loopback bool              // trust_loopback
	token    [sha256.Size]byte // of the token
	hasToken bool
	tls      *tls.Config    // nil: no TLS
	clients  *x509.CertPool // the CAs of clients; nil: no client certificates
	group    uint32         // whose members the control socket trusts
	hasGroup bool
}

// Keys reads what the configuration names. What cannot be used is an error that names the key.
func (d Daemon) LoadPolicy(a config.Access) (*Policy, error) {
	k := &Policy{loopback: a.TrustLoopback}
	if a.TokenFile != "" {
		token, err := ReadToken(a.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("%s.token_file: %w", d.Section, err)
		}
		k.token, k.hasToken = sha256.Sum256([]byte(token)), true
	}
	if a.ControlGroup != "" {
		gid, err := lookUpGroup(a.ControlGroup)
		if err != nil {
			return nil, fmt.Errorf("%s.control_group: %w", d.Section, err)
		}
		k.group, k.hasGroup = gid, true
	}
	if a.TLS.CertFile != "" {
		if err := k.readTLS(d.Section+".tls.", a.TLS); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// readTLS reads the certificates. Those of clients are asked for in the handshake, which proves that the client has the key, and judged
// when it wants to change something: so a bad one does not keep anybody from reading, and a refusal says why.
func (k *Policy) readTLS(section string, files config.TLS) error {
	cert, err := readFile(files.CertFile, maxPEM, 0)
	if err != nil {
		return fmt.Errorf("%scert_file: %w", section, err)
	}
	key, err := readFile(files.KeyFile, maxPEM, 0o007)
	if err != nil {
		return fmt.Errorf("%skey_file: %w", section, err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("%scert_file %s and key_file %s: %w: give a certificate in PEM and the private key that belongs to it", section, files.CertFile, files.KeyFile, err)
	}
	k.tls = &tls.Config{
		Certificates:           []tls.Certificate{pair},
		MinVersion:             tls.VersionTLS12,
		NextProtos:             []string{"http/1.1"},
		SessionTicketsDisabled: true, // or a ticket could outlive a reload that takes its certificate's CA away
	}
	if files.ClientCAFile == "" {
		return nil
	}
	if k.clients, err = ReadCAs(files.ClientCAFile); err != nil {
		return fmt.Errorf("%sclient_ca_file: %w", section, err)
	}
	k.tls.ClientAuth, k.tls.ClientCAs = tls.RequestClientCert, k.clients
	return nil
}

// matches compares a token in a time that does not tell how much of it is right.
func (k *Policy) matches(token string) bool {
	given := sha256.Sum256([]byte(token))
	return k.hasToken && subtle.ConstantTimeCompare(given[:], k.token[:]) == 1
}

// ReadToken reads the secret that lets who has it make changes over TCP: one line, in a file that only its owner may read.
func ReadToken(path string) (string, error) {
	data, err := readFile(path, maxToken, 0o077)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(data))
	const mend = "make a new one with (umask 077; head -c 32 /dev/urandom | base64 >FILE)"
	if len(token) < minToken {
		return "", fmt.Errorf("read the token in %s: it has %d bytes, at least %d are needed: %s", path, len(token), minToken, mend)
	}
	for i := range len(token) {
		if token[i] <= ' ' || token[i] > '~' {
			return "", fmt.Errorf("read the token in %s: it has a byte that is no printable ASCII character, or more than one word: %s", path, mend)
		}
	}
	return token, nil
}

// ReadCAs reads a file of certificates in PEM.
func ReadCAs(path string) (*x509.CertPool, error) {
	data, err := readFile(path, maxPEM, 0)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("read %s: it holds no certificate: give the certificates of the CAs in PEM", path)
	}
	return pool, nil
}

// readFile reads a small regular file whose mode has none of the forbidden bits.
func readFile(path string, most int64, forbidden fs.FileMode) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // so that a pipe without a writer does not hang it
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("read %s: it is no regular file: name one that is", path)
	case info.Mode().Perm()&forbidden != 0:
		return nil, fmt.Errorf("read %s: its mode %#o lets others have the secret: chmod %s %s", path, info.Mode().Perm(), chmod(forbidden), path)
	}
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("read %s: it has more than %d bytes: is it the right file?", path, most)
	}
	return data, err
}

// chmod is how to take the forbidden bits away.
func chmod(forbidden fs.FileMode) string {
	if forbidden&0o070 != 0 {
		return "go="
	}
	return "o="
}

// lookUpGroup finds the number of a group given by name or number.
func lookUpGroup(name string) (uint32, error) {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n), nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("%w: make it with `groupadd --system %s`, or name another", err, name)
	}
	n, err := strconv.ParseUint(g.Gid, 10, 32)
	return uint32(n), err
}
