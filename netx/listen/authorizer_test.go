package listen

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/braintree/lb/config"
)

// post returns a change from a remote address with headers name, value, ….
func post(remote string, header ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "http://app02/webapp/down", nil)
	r.RemoteAddr = remote
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

func newTestAuthorizer(t testing.TB, access config.Access) *Authorizer {
	t.Helper()
	p, err := testDaemon().LoadPolicy(access)
	if err != nil {
		t.Fatal(err)
	}
	return testDaemon().NewAuthorizer("/run/lb/agent.sock", p)
}

func TestAuthorizeTCP(t *testing.T) {
	const here, there = "127.0.0.1:5000", "10.0.0.9:5000"
	ca := newAuthority(t, "ca")
	token := config.Access{TokenFile: writeFile(t, "token", goodToken, 0o600)}
	tokenTLS, trusting, tokenTrusting := token, config.Access{TrustLoopback: true}, token
	tokenTLS.TLS, tokenTrusting.TrustLoopback = ca.server(), true
	clients := config.Access{TLS: ca.server()}
	clients.TLS.ClientCAFile = ca.file()
	good, wrong := "Bearer "+goodToken, "Bearer "+goodToken[1:]
	for _, tc := range []struct {
		name    string
		access  config.Access
		request *http.Request
		status  int // 0: permitted
		want    string
	}{
		{"nothing set", config.Access{}, post(here), 403,
			"(over its socket /run/lb/agent.sock). To accept them from other machines, set agent.token_file or agent.tls.client_ca_file"},
		{"a token where none is set", config.Access{}, post(here, "Authorization", good), 403, "Set agent.token_file"},
		{"trust_loopback, this machine", trusting, post(here), 0, here},
		{"trust_loopback, another machine", trusting, post(there), 403, "127.0.0.1 and ::1 only"},
		{"trust_loopback, a web page", trusting, post(here, "Origin", "http://evil.example"), 403, "web pages"},
		{"the token", token, post(there, "Authorization", good), 0, there + " with the token"},
		{"the token, scheme in lower case", token, post(there, "Authorization", "bearer "+goodToken), 0, there + " with the token"},
		{"the token, by a web page", token, post(there, "Authorization", good, "Sec-Fetch-Site", "cross-site"), 403, "web pages"},
		{"no token", token, post(there), 401, "`lb ctl force --agent HOST:PORT --token-file FILE`"},
		{"no token, this machine", token, post(here), 401, "--token-file FILE"},
		{"a wrong token", token, post(there, "Authorization", wrong), 401, "The token is wrong"},
		{"an empty token", token, post(there, "Authorization", "Bearer "), 401, "The token is wrong"},
		{"another scheme", token, post(there, "Authorization", "Basic "+goodToken), 401, "needs the token"},
		{"a wrong token despite trust_loopback", tokenTrusting, post(here, "Authorization", wrong), 401, "The token is wrong"},
		{"no token, with trust_loopback", tokenTrusting, post(here), 0, here},
		{"the token unencrypted where TLS is set", tokenTLS, post(there, "Authorization", good), 403, "unencrypted"},
		{"a wrong token unencrypted gets the same refusal", tokenTLS, post(there, "Authorization", wrong), 403, "unencrypted"},
		{"the token unencrypted from this machine", tokenTLS, post(here, "Authorization", good), 0, "with the token"},
		{"no certificate", clients, post(there), 401, "--cert-file FILE"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, refusal := newTestAuthorizer(t, tc.access).AuthorizeTCP(tc.request, "lb ctl force")
			if tc.status == 0 {
				if refusal != nil || !strings.Contains(Peer(r), tc.want) {
					t.Errorf("%+v, peer %q", refusal, Peer(r))
				}
				return
			}
			if refusal == nil || refusal.Status != tc.status || !strings.Contains(refusal.Text, tc.want) ||
				!strings.Contains(refusal.Text, "`lb ctl force") {
				t.Fatalf("%+v, want %d %q", refusal, tc.status, tc.want)
			}
			if strings.Contains(refusal.Text, "\n") || strings.Contains(refusal.Text, goodToken) {
				t.Errorf("the text is %q", refusal.Text)
			}
			h := http.Header{}
			refusal.SetHeader(h)
			if challenged := h.Get("WWW-Authenticate") != ""; challenged != (tc.status == 401) {
				t.Errorf("status %d with %v", tc.status, h)
			}
		})
	}
}

func TestAuthorizeSocket(t *testing.T) {
	own := uint32(os.Geteuid())
	for _, tc := range []struct {
		name  string
		group string
		cred  PeerCredentials
		want  string // "": permitted
	}{
		{"root", "", PeerCredentials{UID: 0, GID: 1}, ""},
		{"the daemon's own user", "", PeerCredentials{UID: own, GID: 1}, ""},
		{"any other user", "", PeerCredentials{UID: 54321, GID: 100}, "set agent.control_group"},
		{"another user in group 0", "", PeerCredentials{UID: 54321, GID: 0, Groups: []uint32{0}}, "set agent.control_group"},
		{"a member by primary group", "4242", PeerCredentials{UID: 54321, GID: 4242}, ""},
		{"a member by supplementary group", "4242", PeerCredentials{UID: 54321, GID: 100, Groups: []uint32{27, 4242}}, ""},
		{"not a member", "4242", PeerCredentials{UID: 54321, GID: 100, Groups: []uint32{27, 4243}}, "group of agent.control_group"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := post("@")
			r = r.WithContext(WithPeerCredentials(r.Context(), tc.cred))
			r, refusal := newTestAuthorizer(t, config.Access{ControlGroup: tc.group}).AuthorizeSocket(r, "lb ctl force")
			switch {
			case tc.want == "" && (refusal != nil || !strings.HasPrefix(Peer(r), "uid ")):
				t.Errorf("%+v, peer %q", refusal, Peer(r))
			case tc.want != "" && (refusal == nil || refusal.Status != 403 || !strings.Contains(refusal.Text, tc.want) ||
				!strings.Contains(refusal.Text, "sudo lb ctl force") || !strings.Contains(refusal.Text, "54321")):
				t.Errorf("%+v, want %q", refusal, tc.want)
			}
		})
	}
	a := newTestAuthorizer(t, config.Access{TrustLoopback: true})
	if _, refusal := a.AuthorizeSocket(post("127.0.0.1:1"), "lb ctl force"); refusal == nil || refusal.Status != 403 {
		t.Errorf("a request without credentials: %+v", refusal)
	}
}

// serve answers reads on l with "read" and permitted changes with the peer, until the test ends.
func serve(t *testing.T, l net.Listener, authorize AuthorizeFunc) {
	t.Helper()
	s := NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			io.WriteString(w, "read")
			return
		}
		r, refusal := authorize(r, "lb ctl force")
		if refusal != nil {
			http.Error(w, refusal.Text, refusal.Status)
			return
		}
		io.WriteString(w, Peer(r))
	}), slog.New(slog.DiscardHandler), 10*time.Second, time.Minute)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}

// send sends a request and returns status and body.
func send(t *testing.T, c *http.Client, method, url string, header ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// newClient returns a client that trusts ca and shows the first of certs, whatever CA the server names.
func newClient(t *testing.T, ca *authority, certs ...tls.Certificate) *http.Client {
	config := &tls.Config{RootCAs: ca.pool(), GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if len(certs) == 0 {
			return &tls.Certificate{}, nil
		}
		return &certs[0], nil
	}}
	transport := &http.Transport{TLSClientConfig: config}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func listenLoopback(t *testing.T) (net.Listener, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l, l.Addr().String()
}

func TestOnePortServesTLSAndPlainHTTP(t *testing.T) {
	ca, other := newAuthority(t, "ca"), newAuthority(t, "other")
	access := config.Access{TokenFile: writeFile(t, "token", goodToken, 0o600), TLS: ca.server()}
	access.TLS.ClientCAFile = ca.file()
	g := newTestAuthorizer(t, access)
	l, address := listenLoopback(t)
	serve(t, Limit(g.OptionalTLS(l), 16), g.AuthorizeTCP)
	past := time.Now().Add(-time.Hour)
	for _, tc := range []struct {
		name   string
		url    string
		client *http.Client
		token  string
		status int // of a change
		want   string
	}{
		{"plain", "http://", newClient(t, ca), "", 401, "needs the token"},
		{"plain, with the token, from this machine", "http://", newClient(t, ca), goodToken, 200, "with the token"},
		{"TLS", "https://", newClient(t, ca), "", 401, "needs the token"},
		{"TLS, with the token", "https://", newClient(t, ca), goodToken, 200, "with the token"},
		{"TLS, with a wrong token", "https://", newClient(t, ca), goodToken + "x", 401, "wrong"},
		{"a certificate", "https://", newClient(t, ca, ca.client("kim")), "", 200, `with the certificate of "kim"`},
		{"a certificate and a wrong token", "https://", newClient(t, ca, ca.client("kim")), "x", 200, `with the certificate of "kim"`},
		{"a certificate with terminal escapes in its name", "https://", newClient(t, ca, ca.client("a\n\x1b[31mb")), "", 200, `"a [31mb"`},
		{"another CA's", "https://", newClient(t, ca, other.client("eve")), "", 403,
			`The certificate of "eve" is not accepted: it is signed by an unknown CA`},
		{"an expired one", "https://", newClient(t, ca, ca.issue("old", x509.ExtKeyUsageClientAuth, past)), "", 403, "expired"},
		{"a server's", "https://", newClient(t, ca, ca.issue("app03", x509.ExtKeyUsageServerAuth, time.Now().Add(time.Hour))), "", 403,
			"incompatible key usage"},
		{"another CA's and the token", "https://", newClient(t, ca, other.client("eve")), goodToken, 200, "with the token"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if status, body := send(t, tc.client, http.MethodGet, tc.url+address); status != 200 || body != "read" {
				t.Errorf("read: %d %q", status, body)
			}
			var header []string
			if tc.token != "" {
				header = []string{"Authorization", "Bearer " + tc.token}
			}
			status, body := send(t, tc.client, http.MethodPost, tc.url+address, header...)
			if status != tc.status || !strings.Contains(body, tc.want) {
				t.Errorf("change: %d %q, want %d %q", status, body, tc.status, tc.want)
			}
		})
	}
	old := &tls.Config{RootCAs: ca.pool(), MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	if c, err := tls.Dial("tcp", address, old); err == nil {
		c.Close()
		t.Error("TLS 1.1 is accepted")
	}
}

func TestANewPolicyAppliesToOpenConnections(t *testing.T) {
	ca, other := newAuthority(t, "ca"), newAuthority(t, "other")
	g := newTestAuthorizer(t, config.Access{})
	l, address := listenLoopback(t)
	serve(t, g.OptionalTLS(l), g.AuthorizeTCP)
	use := func(access config.Access) {
		t.Helper()
		p, err := testDaemon().LoadPolicy(access)
		if err != nil {
			t.Fatal(err)
		}
		g.SetPolicy(p)
	}
	plain, secure := newClient(t, ca), newClient(t, ca, ca.client("kim"))
	change := func(c *http.Client, scheme string, want int) {
		t.Helper()
		if status, body := send(t, c, http.MethodPost, scheme+address, "Authorization", "Bearer "+goodToken); status != want {
			t.Errorf("%s: %d %q, want %d", scheme, status, body, want)
		}
	}
	change(plain, "http://", 403)
	if _, err := secure.Get("https://" + address); err == nil {
		t.Error("TLS works without a certificate")
	}
	files := ca.server()
	files.ClientCAFile = ca.file()
	use(config.Access{TLS: files})
	change(secure, "https://", 200)
	change(plain, "http://", 403) // on the connection that began without TLS
	files.ClientCAFile = other.file()
	use(config.Access{TLS: files})
	change(secure, "https://", 403) // on the connection whose certificate was accepted before
	use(config.Access{TokenFile: writeFile(t, "token", goodToken, 0o600)})
	change(secure, "https://", 200) // by the token: the connection stays open
	change(plain, "http://", 200)
}

func TestTheControlSocketIdentifiesItsPeer(t *testing.T) {
	p, err := testDaemon().LoadPolicy(config.Access{ControlGroup: "0"})
	if os.Geteuid() != 0 {
		p, err = &Policy{}, nil // only root can change the group of the socket
	}
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(shortDir(t), "s")
	l, err := testDaemon().ListenControl(t.Context(), path, p)
	if err != nil {
		t.Fatal(err)
	}
	g := testDaemon().NewAuthorizer(path, p)
	serve(t, Limit(l, 4), g.AuthorizeSocket)
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	status, body := send(t, &http.Client{Transport: transport}, http.MethodPost, "http://agent/webapp/down")
	if status != 200 || !strings.HasPrefix(body, "uid ") || !strings.Contains(body, "(pid ") {
		t.Errorf("%d %q", status, body)
	}
}
