package agent

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/braintree/lb/agent/score"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/golden"
)

// recorded is an agent with the services of the recorded transcripts, whose webapp depends on a file.
type recorded struct {
	*bench
	dir string
}

func newRecorded(t *testing.T) recorded {
	dir := shortDir(t)
	file := depends("file_contents", map[string]any{"path": filepath.Join(dir, "depfile"), "pattern": "OK"})
	cfg := configIn(dir,
		config.Service{Name: "a-much-longer-service.name", Depends: []config.Check{
			depends("script", map[string]any{"command": "/bin/true"}), depends("script", map[string]any{"command": "/bin/false"}),
		}, Metrics: []config.Check{metric("script", 100, map[string]any{"command": "echo 0.501", "scale": "fraction"})}},
		config.Service{Name: "empty"},
		config.Service{Name: "over", Metrics: []config.Check{constant(100), constant(50)}},
		config.Service{Name: "webapp", Depends: []config.Check{file}, Metrics: []config.Check{constant(60), constant(25)}},
		config.Service{Name: "zero", Metrics: []config.Check{constant(0)}},
	)
	cfg.Agent.TrustLoopback = true // as always in litmus_paper
	if err := os.WriteFile(filepath.Join(dir, "depfile"), []byte("OK\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b, _ := running(t, cfg)
	return recorded{b, dir}
}

// depfile changes the dependency's file and runs the check. (litmus_paper runs checks at every request.)
func (b recorded) depfile(t *testing.T, contents string) {
	t.Helper()
	path := filepath.Join(b.dir, "depfile")
	err := os.WriteFile(path, []byte(contents+"\n"), 0o600)
	if contents == "" {
		err = os.Remove(path)
	}
	if err != nil {
		t.Fatal(err)
	}
	b.services.Current().ByName["webapp"].Depends[0].RunOnce(t.Context(), b.Agent.log)
}

// clear ends all forces.
func (b recorded) clear(t *testing.T) {
	t.Helper()
	for _, service := range []string{"", "webapp"} {
		for _, kind := range score.Kinds() {
			if _, _, err := b.changes.Store.Delete(service, kind); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestHTTPIsCompatibleWithLitmusPaper replays testdata/litmus_http.txt: the cases of the recorded transcript
// of litmus_paper 1.6.2, with its numbers and with the answers of lb. "> " lines are sent, "< " and "| "
// lines are received, and "# " lines are commands to the test. docs/litmus.md lists the differences from
// litmus_paper.
func TestHTTPIsCompatibleWithLitmusPaper(t *testing.T) {
	const name = "litmus_http.txt"
	script, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	b := newRecorded(t)
	var out strings.Builder
	var request []string
	play := func() {
		if len(request) > 0 {
			out.WriteString(b.converse(t, request))
		}
		request = nil
	}
	for line := range strings.Lines(string(script)) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "> ") || line == ">" {
			request = append(request, strings.TrimPrefix(line[1:], " "))
			out.WriteString(line + "\n")
			continue
		}
		play()
		switch {
		case strings.HasPrefix(line, "< "), strings.HasPrefix(line, "| "):
			continue
		case line == "# clear":
			b.clear(t)
		case strings.HasPrefix(line, "# depfile"):
			b.depfile(t, strings.TrimSpace(strings.TrimPrefix(line, "# depfile")))
		case line != "" && !strings.HasPrefix(line, "#### "):
			t.Fatalf("%s has a line %q", name, line)
		}
		out.WriteString(line + "\n")
	}
	play()
	golden.Compare(t, "testdata/"+name, out.String())
}

// converse sends a request with the header fields that every client adds, and formats the answer.
func (b recorded) converse(t *testing.T, lines []string) string {
	t.Helper()
	head, body := lines, ""
	for i, line := range lines {
		if line == "" {
			head, body = lines[:i], strings.Join(lines[i+1:], "\r\n")
			break
		}
	}
	raw := head[0] + " HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n"
	if strings.Contains(head[0], " HTTP/") || !strings.Contains(head[0], " ") {
		raw = head[0] + "\r\n"
	}
	chunked := false
	for _, h := range head[1:] {
		raw += h + "\r\n"
		chunked = chunked || strings.HasPrefix(h, "Transfer-Encoding")
	}
	if body != "" && !chunked {
		raw += "Content-Length: " + strconv.Itoa(len(body)) + "\r\n"
	}
	if chunked {
		body += "\r\n\r\n"
	}
	method, _, _ := strings.Cut(head[0], " ")
	return strings.ReplaceAll(exchange(t, b.Addr(), method, raw+"\r\n"+body), b.dir, "DIR")
}

// exchange formats an answer: its status, the header fields that programs read, and its body.
func exchange(t *testing.T, to net.Addr, method, raw string) string {
	t.Helper()
	conn, err := net.Dial(to.Network(), to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte(raw)); err != nil {
		t.Fatal(err)
	}
	from := bufio.NewReader(conn)
	r, err := http.ReadResponse(from, &http.Request{Method: method})
	if err == nil && r.StatusCode == http.StatusContinue {
		r, err = http.ReadResponse(from, &http.Request{Method: method})
	}
	if err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	var s strings.Builder
	fmt.Fprintf(&s, "< %s\n", r.Status)
	for _, name := range []string{"X-Health", "X-Health-Forced"} {
		if v := r.Header.Values(name); len(v) > 0 {
			fmt.Fprintf(&s, "< %s: %s\n", name, strings.Join(v, ", "))
		}
	}
	for line := range strings.Lines(bodyOf(t, r)) {
		if line == "lb agent serves\n" || r.StatusCode == http.StatusForbidden {
			break // text for people
		}
		quoted := strconv.Quote(line)
		fmt.Fprintf(&s, "| %s\n", quoted[1:len(quoted)-1])
	}
	return s.String()
}
