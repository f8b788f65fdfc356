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
	minTokenSize = 32 // bytes; 128 random bits in hexadecimal
	maxTokenSize = 4096
	maxPEMSize   = 1 << 20 // bytes of a certificate or key file
)

// Policy is what authorizes clients, loaded from the files and names in the configuration.
type Policy struct {
	trustLoopback bool
	tokenHash     [sha256.Size]byte
	hasToken      bool
	tls           *tls.Config    // nil: no TLS
	clientCAs     *x509.CertPool // nil: no client certificates
	group         uint32         // the control group
	hasGroup      bool
}

// LoadPolicy loads what the configuration names. Errors name the configuration key.
func (d Daemon) LoadPolicy(a config.Access) (*Policy, error) {
	p := &Policy{trustLoopback: a.TrustLoopback}
	if a.TokenFile != "" {
		token, err := ReadToken(a.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("%s.token_file: %w", d.Section, err)
		}
		p.tokenHash, p.hasToken = sha256.Sum256([]byte(token)), true
	}
	if a.ControlGroup != "" {
		gid, err := lookupGroup(a.ControlGroup)
		if err != nil {
			return nil, fmt.Errorf("%s.control_group: %w", d.Section, err)
		}
		p.group, p.hasGroup = gid, true
	}
	if a.TLS.CertFile != "" {
		if err := p.loadTLS(d.Section+".tls.", a.TLS); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// loadTLS loads the certificates. The handshake requests a client certificate and checks that the client has its key,
// but AuthorizeTCP verifies it: so a bad certificate does not prevent reads, and a refusal can say why.
func (p *Policy) loadTLS(section string, files config.TLS) error {
	cert, err := readFile(files.CertFile, maxPEMSize, 0)
	if err != nil {
		return fmt.Errorf("%scert_file: %w", section, err)
	}
	key, err := readFile(files.KeyFile, maxPEMSize, 0o007)
	if err != nil {
		return fmt.Errorf("%skey_file: %w", section, err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("%scert_file %s and key_file %s: %w: name a certificate in PEM and its private key",
			section, files.CertFile, files.KeyFile, err)
	}
	p.tls = &tls.Config{
		Certificates:           []tls.Certificate{pair},
		MinVersion:             tls.VersionTLS12,
		NextProtos:             []string{"http/1.1"},
		SessionTicketsDisabled: true, // a ticket could outlive a reload that removes the CA of its certificate
	}
	if files.ClientCAFile == "" {
		return nil
	}
	if p.clientCAs, err = ReadCAs(files.ClientCAFile); err != nil {
		return fmt.Errorf("%sclient_ca_file: %w", section, err)
	}
	p.tls.ClientAuth, p.tls.ClientCAs = tls.RequestClientCert, p.clientCAs
	return nil
}

// tokenMatches compares in constant time.
func (p *Policy) tokenMatches(token string) bool {
	hash := sha256.Sum256([]byte(token))
	return p.hasToken && subtle.ConstantTimeCompare(hash[:], p.tokenHash[:]) == 1
}

// ReadToken reads the bearer token for changes over TCP: one line, in a file that only its owner may access.
func ReadToken(path string) (string, error) {
	data, err := readFile(path, maxTokenSize, 0o077)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(data))
	const fix = "generate one with (umask 077; head -c 32 /dev/urandom | base64 >FILE)"
	if len(token) < minTokenSize {
		return "", fmt.Errorf("read the token in %s: it has %d bytes, at least %d are required: %s", path, len(token), minTokenSize, fix)
	}
	for i := range len(token) {
		if token[i] <= ' ' || token[i] > '~' {
			return "", fmt.Errorf("read the token in %s: it contains white space or a byte that is not printable ASCII: %s", path, fix)
		}
	}
	return token, nil
}

// ReadCAs reads a file of CA certificates in PEM.
func ReadCAs(path string) (*x509.CertPool, error) {
	data, err := readFile(path, maxPEMSize, 0)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("read %s: it contains no certificate: name a file with CA certificates in PEM", path)
	}
	return pool, nil
}

// readFile reads a regular file of at most limit bytes whose mode has none of the forbidden bits.
func readFile(path string, limit int64, forbidden fs.FileMode) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // or opening a FIFO without a writer blocks
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("read %s: it is not a regular file: name one that is", path)
	case info.Mode().Perm()&forbidden != 0:
		return nil, fmt.Errorf("read %s: its mode %#o exposes the secret to others: chmod %s %s",
			path, info.Mode().Perm(), chmodMode(forbidden), path)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("read %s: it has more than %d bytes: is it the right file?", path, limit)
	}
	return data, err
}

// chmodMode returns the argument of chmod that removes the forbidden bits.
func chmodMode(forbidden fs.FileMode) string {
	if forbidden&0o070 != 0 {
		return "go="
	}
	return "o="
}

// lookupGroup returns the ID of a group given by name or number.
func lookupGroup(name string) (uint32, error) {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n), nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("%w: create it with `groupadd --system %s`, or name another", err, name)
	}
	n, err := strconv.ParseUint(g.Gid, 10, 32)
	return uint32(n), err
}
