package page

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func cluster(page config.OwnPage) config.Cluster {
	page.RetryAfter = 30 * time.Second
	return config.Cluster{Name: "web", Weights: config.Weights{Downpage: config.Downpage{OwnPage: page}}}
}

// serve serves a page on loopback until the test ends.
func serve(t *testing.T, page config.OwnPage) (*server, string) {
	t.Helper()
	content, err := load(cluster(page))
	if err != nil {
		t.Fatal(err)
	}
	here := netip.MustParseAddr("127.0.0.1")
	s, err := newServer(t.Context(), "web", []netip.Addr{here}, content, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return s, s.Address(ipvs.IPv4).String()
}

// certificate creates a self-signed certificate for 127.0.0.1.
func certificate(t *testing.T, dir string) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(cert)
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der},
		keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile, pool
}

// exchange sends a request verbatim and reads until the server closes the connection.
func exchange(t *testing.T, conn net.Conn, request string) (*http.Response, string) {
	t.Helper()
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(conn)
	method, _, _ := strings.Cut(request, " ")
	resp, err := http.ReadResponse(lines, &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
		t.Errorf("after the response: %q, %v; want the connection closed", rest, err)
	}
	return resp, string(body)
}

func TestEveryRequestGetsThePage(t *testing.T) {
	_, at := serve(t, config.OwnPage{})
	for _, request := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /a/b?c=d HTTP/1.0\r\n\r\n",
		"POST /buy HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
		"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
		"BREW /tea HTTP/1.1\r\nHost: x\r\n\r\n",
		"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		method, _, _ := strings.Cut(request, " ")
		t.Run(method, func(t *testing.T) {
			conn, err := net.Dial("tcp", at)
			if err != nil {
				t.Fatal(err)
			}
			resp, body := exchange(t, conn, request)
			h := resp.Header
			if resp.StatusCode != 503 || h.Get("Retry-After") != "30" || h.Get("Content-Type") != "text/html; charset=utf-8" ||
				!resp.Close ||
				h.Get("Cache-Control") != "no-store" || resp.ContentLength != int64(len(builtIn)) {
				t.Errorf("%d, close %t, length %d, %v", resp.StatusCode, resp.Close, resp.ContentLength, h)
			}
			want := string(builtIn)
			if method == "HEAD" {
				want = ""
			}
			if body != want {
				t.Errorf("body %q", body)
			}
		})
	}
}

func TestCustomPageCertificateAndReload(t *testing.T) {
	dir := t.TempDir()
	html := filepath.Join(dir, "sorry.html")
	if err := os.WriteFile(html, []byte("<p>sorry"), 0o600); err != nil {
		t.Fatal(err)
	}
	cert, key, pool := certificate(t, dir)
	page := config.OwnPage{HTML: html, TLS: config.TLS{CertFile: cert, KeyFile: key}}
	s, at := serve(t, page)
	tlsConn, err := tls.Dial("tcp", at, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	if resp, body := exchange(t, tlsConn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); resp.StatusCode != 503 || body != "<p>sorry" {
		t.Errorf("over TLS: %d %q", resp.StatusCode, body)
	}
	plain := func() string {
		conn, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		_, body := exchange(t, conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		return body
	}
	if body := plain(); body != "<p>sorry" {
		t.Errorf("plain: %q", body)
	}
	content, err := load(cluster(config.OwnPage{}))
	if err != nil {
		t.Fatal(err)
	}
	s.setContent(content)
	if body := plain(); body != string(builtIn) {
		t.Errorf("after a reload: %q", body)
	}
}

func TestListenOnAddressesThatThisMachineLacks(t *testing.T) {
	content, err := load(cluster(config.OwnPage{}))
	if err != nil {
		t.Fatal(err)
	}
	v4, v6 := netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("2001:db8::7")
	s, err := newServer(t.Context(), "web", []netip.Addr{v4, v6}, content, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []netip.Addr{v4, v6} {
		if at := s.Address(ipvs.FamilyOf(a)); at.Addr() != a || at.Port() == 0 {
			t.Errorf("address for %s is %s", a, at)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.Run(ctx)
}

func TestLoadErrorsNameTheKey(t *testing.T) {
	dir := t.TempDir()
	empty, big, pipe := filepath.Join(dir, "empty"), filepath.Join(dir, "big"), filepath.Join(dir, "pipe")
	for path, data := range map[string]string{empty: " \n", big: strings.Repeat("x", maxHTML+1)} {
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		page config.OwnPage
		want string
	}{
		{"missing", config.OwnPage{HTML: filepath.Join(dir, "no")}, "clusters.web.downpage.html: open "},
		{"empty", config.OwnPage{HTML: empty}, "empty file"},
		{"too big", config.OwnPage{HTML: big}, fmt.Sprintf("larger than %d bytes", maxHTML)},
		{"a pipe", config.OwnPage{HTML: pipe}, "not a regular file"},
		{"a directory", config.OwnPage{HTML: dir}, "not a regular file"},
		{"no certificate", config.OwnPage{TLS: config.TLS{CertFile: empty, KeyFile: empty}}, "clusters.web.downpage.tls.cert_file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := load(cluster(tt.page)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Load = %v, want %q", err, tt.want)
			}
		})
	}
}
