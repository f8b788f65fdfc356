package agent

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/braintree/lb/agent/server"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/golden"
	"github.com/braintree/lb/netx/listen"
)

func TestJSONHasTheContentsOfTheTextAndTheReasons(t *testing.T) {
	b := newBench(t, configIn(shortDir(t),
		config.Service{
			Name:    "failing",
			Depends: []config.Check{depends("script", map[string]any{"command": "echo no database; exit 3"})},
			Metrics: []config.Check{metric("script", 40, map[string]any{"command": "echo junk"})},
		},
		webapp("true"),
	))
	b.do(server.Socket, "POST", "/webapp/health", "reason=capacity&health=42&who=kim")
	var s strings.Builder
	for _, target := range []string{"/webapp/status", "/"} {
		r := b.do(server.TCP, "GET", target, "", "Accept", "text/html;q=0.5, application/json")
		fmt.Fprintf(&s, "> GET %s\n< %s\n< Content-Type: %s\n< X-Health: %s\n%s\n", target, r.Status, r.Header.Get("Content-Type"),
			r.Header.Get("X-Health"), bodyOf(t, r))
	}
	got := regexp.MustCompile(`"age": [0-9.e-]+`).ReplaceAllString(s.String(), `"age": AGE`)
	got = regexp.MustCompile(`"at": "[^"]+"`).ReplaceAllString(got, `"at": "TIME"`)
	golden.Compare(t, "testdata/json.txt", got)
}

func TestJSONIsSentOnlyOnRequest(t *testing.T) {
	b := newBench(t, configIn(shortDir(t), webapp("true")))
	for accept, want := range map[string]bool{
		"": false, "*/*": false, "text/plain": false, "application/json": true, "application/json; q=0.9, */*": true,
		"application/json;q=0": false, "application/jsonx": false, ",;,": false,
	} {
		r := b.do(server.TCP, "GET", "/webapp/status", "", "Accept", accept)
		if got := json.Valid([]byte(bodyOf(t, r))); got != want {
			t.Errorf("Accept: %q: JSON is %v, want %v", accept, got, want)
		}
	}
}

func TestWhoMayChangeOverTCP(t *testing.T) {
	for _, tc := range []struct {
		name   string
		trust  bool
		remote string
		header [2]string
		want   int
	}{
		{"not without trust_loopback", false, "127.0.0.1:4242", [2]string{}, 403},
		{"loopback with trust_loopback", true, "127.0.0.1:4242", [2]string{}, 201},
		{"all of 127.0.0.0/8", true, "127.9.9.9:4242", [2]string{}, 201},
		{"IPv6 loopback", true, "[::1]:4242", [2]string{}, 201},
		{"mapped loopback", true, "[::ffff:127.0.0.1]:4242", [2]string{}, 201},
		{"another machine", true, "10.0.0.1:4242", [2]string{}, 403},
		{"another machine that claims to be this one", true, "10.0.0.1:4242", [2]string{"X-Forwarded-For", "127.0.0.1"}, 403},
		{"a web page of another site", true, "127.0.0.1:4242", [2]string{"Origin", "http://evil.example"}, 403},
		{"a web page of another site, in a recent browser", true, "127.0.0.1:4242", [2]string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"an invalid address", true, "@", [2]string{}, 403},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := configIn(shortDir(t), webapp("true"))
			cfg.Agent.TrustLoopback = tc.trust
			b := newBench(t, cfg)
			r := httptest.NewRequest("POST", "/webapp/down?reason=x", nil)
			r.RemoteAddr = tc.remote
			if tc.header[0] != "" {
				r.Header.Set(tc.header[0], tc.header[1])
			}
			w := httptest.NewRecorder()
			b.server.Handler(server.TCP).ServeHTTP(w, r)
			if w.Code != tc.want {
				t.Errorf("POST: %d %s, want %d", w.Code, w.Body, tc.want)
			}
			if _, forced := b.changes.Store.InEffect("webapp", time.Now()); forced != (tc.want == 201) {
				t.Errorf("forced: %v", forced)
			}
			if tc.want == 403 && !strings.Contains(w.Body.String(), "lb ctl force") {
				t.Errorf("no fix in %q", w.Body)
			}
		})
	}
}

func TestForceParametersAreReadInAllCommonEncodings(t *testing.T) {
	const multipart = "--XX\r\nContent-Disposition: form-data; name=\"reason\"\r\n\r\nmulti part\r\n--XX--\r\n"
	for _, tc := range []struct {
		name, target, body, contentType, want string
	}{
		{"urlencoded", "/webapp/down", "reason=a+b", "application/x-www-form-urlencoded", "a b"},
		{"query", "/webapp/down?reason=a%20b", "", "", "a b"},
		{"body without a type", "/webapp/down", "reason=notype", "", "notype"},
		{"multipart", "/webapp/down", multipart,
			"multipart/form-data; boundary=XX", "multi part"},
		{"multipart, type in upper case", "/webapp/down", multipart, "Multipart/Form-Data; boundary=XX", "multi part"},
		{"urlencoded, type in upper case", "/webapp/down", "health=5;reason=a+b", "Application/X-WWW-Form-URLEncoded ; charset=utf-8",
			"a b"},
		{"JSON is not read", "/webapp/down", `{"reason":"json"}`, "application/json", ""},
		{"invalid UTF-8 and terminal escapes", "/webapp/down", "reason=%ffbad%1b[31m%0anext", "application/x-www-form-urlencoded",
			"\ufffdbad [31m next"},
		{"a long reason", "/webapp/down", "reason=" + strings.Repeat("x", 10000), "application/x-www-form-urlencoded",
			strings.Repeat("x", 497) + "…"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, configIn(shortDir(t), webapp("true")))
			r := httptest.NewRequest("POST", tc.target, strings.NewReader(tc.body))
			if tc.contentType != "" {
				r.Header.Set("Content-Type", tc.contentType)
			}
			w := httptest.NewRecorder()
			b.server.Handler(server.Socket).ServeHTTP(w, asRoot(r, server.Socket))
			if f, ok := b.changes.Store.InEffect("webapp", time.Now()); w.Code != 201 || !ok || f.Reason != tc.want || f.Who == "" {
				t.Errorf("%d %s; stored %+v, want the reason %q", w.Code, w.Body, f, tc.want)
			}
			for _, target := range []string{"/", "/webapp/status"} {
				if r := b.do(server.TCP, "GET", target, ""); r.StatusCode >= 500 && target == "/" || !utf8.ValidString(bodyOf(t, r)) {
					t.Errorf("GET %s: %d", target, r.StatusCode)
				}
			}
		})
	}
}

func TestInvalidRequestsChangeNothing(t *testing.T) {
	b := newBench(t, configIn(shortDir(t), webapp("true")))
	for _, tc := range []struct {
		name, target, body string
		want               int
	}{
		{"body too large", "/webapp/down", "reason=" + strings.Repeat("x", listen.MaxBody), 413},
		{"broken escape in the body", "/webapp/down", "reason=%zz", 400},
		{"broken escape in the query", "/webapp/down?reason=%zz", "", 400},
		{"unknown service", "/nope/down", "reason=x", 404},
		{"no service", "//down", "reason=x", 404},
		{"unknown kind", "/webapp/sideways", "reason=x", 404},
	} {
		if r := b.do(server.Socket, "POST", tc.target, tc.body); r.StatusCode != tc.want {
			t.Errorf("%s: %d %s, want %d", tc.name, r.StatusCode, bodyOf(t, r), tc.want)
		}
	}
	if all := b.changes.Store.All(); len(all) != 0 {
		t.Errorf("stored %v", all)
	}
}

func TestAFailedWriteIsReported(t *testing.T) {
	dir := shortDir(t)
	b := newBench(t, configIn(dir, webapp("true")))
	if err := os.Rename(filepath.Join(dir, "data"), filepath.Join(dir, "away")); err != nil {
		t.Fatal(err)
	}
	r := b.do(server.Socket, "POST", "/webapp/down", "reason=x")
	if body := bodyOf(t, r); r.StatusCode != 500 || !strings.Contains(body, "nothing has changed") || strings.Count(body, "\n") != 1 {
		t.Errorf("%d %q", r.StatusCode, body)
	}
	if r := b.do(server.TCP, "GET", "/webapp/status", ""); r.Header.Get("X-Health") != "85" {
		t.Errorf("health %s after a failed force", r.Header.Get("X-Health"))
	}
}

func TestTheCauseSaysWhatDeterminesTheHealth(t *testing.T) {
	for _, tc := range []struct{ name, dependency, target, want string }{
		{"measured", "true", "", "measured"},
		{"failing", "exit 3", "", "Dependency::Script(exit 3): exit status 3: it printed nothing"},
		{"forced down while failing", "exit 3", "/webapp/down?reason=x&who=kim", "forced down by kim: x"},
		{"a ceiling in effect", "true", "/webapp/health?health=42&reason=x&who=kim", "forced health by kim: x"},
		{"a ceiling above what is measured", "exit 3", "/webapp/health?health=42&who=kim",
			"Dependency::Script(exit 3): exit status 3: it printed nothing"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, configIn(shortDir(t), webapp(tc.dependency)))
			if tc.target != "" {
				b.do(server.Socket, "POST", tc.target, "")
			}
			now := time.Now()
			if got := b.services.View(b.services.Current().ByName["webapp"], now).Cause(now); got != tc.want {
				t.Errorf("cause %q, want %q", got, tc.want)
			}
		})
	}
}

func TestAForceOnARemovedServiceCanBeEnded(t *testing.T) {
	dir := shortDir(t)
	b, stop := running(t, configIn(dir, webapp("true")))
	if r := b.do(server.Socket, "POST", "/webapp/down", "reason=x"); r.StatusCode != 201 {
		t.Fatal(r.Status)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	b = newBench(t, configIn(dir, config.Service{Name: "other", Metrics: []config.Check{constant(1)}}))
	if b.log.Count("not in the configuration", "service=webapp") != 1 {
		t.Errorf("log:\n%s", b.log)
	}
	for _, want := range []int{200, 404} {
		if r := b.do(server.Socket, "DELETE", "/webapp/down", ""); r.StatusCode != want {
			t.Errorf("DELETE: %d, want %d", r.StatusCode, want)
		}
	}
}

func TestListenersHaveLimits(t *testing.T) {
	b, _ := running(t, configIn(shortDir(t), webapp("true")))
	s := b.server.HTTP(server.TCP)
	for what, d := range map[string]time.Duration{"header": s.ReadHeaderTimeout, "read": s.ReadTimeout, "write": s.WriteTimeout,
		"idle": s.IdleTimeout} {
		if d <= 0 || d > 5*time.Minute {
			t.Errorf("the %s timeout is %s", what, d)
		}
	}
	conn, err := net.Dial("tcp", b.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nX-Big: %s\r\n\r\n", strings.Repeat("a", 2*listen.MaxHeader))
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || r.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("large headers: %v, %v", r, err)
	}
}

// tree lists the files below dir, except below skip.
func tree(t testing.TB, dir, skip string) string {
	t.Helper()
	var s strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path == skip {
			return fs.SkipDir
		}
		fmt.Fprintf(&s, "%s %s\n", path, d.Type())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s.String()
}

func FuzzHandler(f *testing.F) {
	f.Add("GET", "/", "", "", "application/json")
	f.Add("POST", "/webapp/health?reason=x", "health=42&reason=%ff", "application/x-www-form-urlencoded", "")
	f.Add("POST", "/webapp/down?for=2h;who=kim", "reason=a;b&for=3d", "", "application/json")
	f.Add("POST", "/%2e%2e/down", "reason=x", "", "")
	f.Add("POST", "/..%2f..%2fescape/up",
		"--XX\r\nContent-Disposition: form-data; name=\"reason\"; filename=\"/tmp/x\"\r\n\r\nx\r\n--XX--\r\n",
		"multipart/form-data; boundary=XX", "")
	f.Add("DELETE", "/webapp/down", "", "", "*/*")
	f.Add("BREW", "//webapp//status", "", "", "")
	dir := shortDir(f)
	b := newBench(f, configIn(dir, webapp("true")))
	data := filepath.Join(dir, "data")
	before := tree(f, dir, data)
	ours := regexp.MustCompile(`^((all|service\.webapp)\.(down|up|health)\.json|audit\.log(\.[1-4])?)$`)
	f.Fuzz(func(t *testing.T, method, target, body, contentType, accept string) {
		r, err := http.NewRequestWithContext(t.Context(), method, "http://agent"+target, strings.NewReader(body))
		if err != nil {
			return // not a request that a server can receive
		}
		r.RequestURI = r.URL.RequestURI()
		r.RemoteAddr = "192.0.2.1:4242"
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("Accept", accept)
		for _, over := range []server.Transport{server.TCP, server.Socket} {
			forces := len(b.changes.Store.All())
			again := r.Clone(t.Context())
			again.Body = io.NopCloser(strings.NewReader(body))
			w := httptest.NewRecorder()
			b.server.Handler(over).ServeHTTP(w, asRoot(again, over))
			switch w.Code {
			case 200, 201, 400, 403, 404, 413, 503:
			default:
				t.Errorf("%s %q answers %d %s", method, target, w.Code, w.Body)
			}
			if !utf8.Valid(w.Body.Bytes()) {
				t.Errorf("%s %q answers %q", method, target, w.Body)
			}
			if over == server.TCP && (w.Code == 201 || len(b.changes.Store.All()) != forces) {
				t.Errorf("%s %q changed something over TCP", method, target)
			}
		}
		if after := tree(t, dir, data); after != before {
			t.Errorf("%s %q changed files outside of data_dir:\n%s\nbefore:\n%s", method, target, after, before)
		}
		entries, err := os.ReadDir(data)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if !ours.MatchString(e.Name()) {
				t.Errorf("%s %q wrote %q", method, target, e.Name())
			}
		}
	})
}
