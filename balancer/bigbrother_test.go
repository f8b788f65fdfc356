package balancer

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/braintree/lb/config"
)

// exchange is a recorded request to big_brother, its response, and the response that lb should send.
type exchange struct {
	line     int      // in the file
	request  []string // as sent, line by line
	recorded string   // big_brother's status, then its body
	why      string   // reason for a different response of lb; "" if it is the same
	wanted   string   // lb's status, then its body
}

// readExchanges parses a file of exchanges. The first lines of the file explain its format.
func readExchanges(t *testing.T, path string) []exchange {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []exchange
	var x exchange
	flush := func() {
		if len(x.request) > 0 {
			if x.why == "" {
				x.wanted = x.recorded
			}
			all = append(all, x)
		}
		x = exchange{}
	}
	body := strings.NewReplacer(`\n`, "\n")
	for i, line := range strings.Split(string(text), "\n") {
		mark, rest, _ := strings.Cut(line, " ")
		switch mark {
		case "", "#":
			flush()
		case ">":
			if x.line == 0 {
				x.line = i + 1
			}
			x.request = append(x.request, rest)
		case "<":
			x.recorded = rest + "\n"
		case "|":
			x.recorded += body.Replace(rest)
		case "lb:":
			x.why = rest
		case "lb<":
			x.wanted = rest + "\n"
		case "lb|":
			x.wanted += body.Replace(rest)
		default:
			t.Fatalf("%s:%d: unknown line type %q", path, i+1, line)
		}
	}
	flush()
	return all
}

// wire returns the request as it goes over the wire. A line that is not a header is the body, or starts the next request.
func (x exchange) wire() string {
	var b strings.Builder
	for i, line := range x.request {
		starts := strings.HasSuffix(line, " HTTP/1.1")
		if i > 0 && !starts && !strings.Contains(line, ": ") {
			return b.String() + "\r\n" + line
		}
		if i > 0 && starts {
			b.WriteString("\r\n")
		}
		b.WriteString(line + "\r\n")
	}
	return b.String() + "\r\n"
}

// replay sends the request and returns the status and body of the first response.
func (x exchange) replay(t *testing.T, conn net.Conn) string {
	t.Helper()
	defer conn.Close()
	if _, err := io.WriteString(conn, x.wire()); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(x.request[0], " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("response to %q: %v", x.request, err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("response to %q: %v", x.request, err)
	}
	if kind := resp.Header.Get("Content-Type"); kind != "text/plain; charset=utf-8" && resp.StatusCode != http.StatusNotModified {
		t.Errorf("the response to %q has Content-Type %s", x.request, kind)
	}
	return fmt.Sprintf("%d\n%s", resp.StatusCode, body)
}

// TestHTTPMatchesBigBrother replays recorded requests to big_brother against a server with the same configuration.
func TestHTTPMatchesBigBrother(t *testing.T) {
	const path = "testdata/bigbro-http.txt"
	all := readExchanges(t, path)
	if len(all) < 50 {
		t.Fatalf("%s has only %d requests", path, len(all))
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		web, db, empty := webapp("web", 1), webapp("my-db.x", 2), webapp("emptyap", 3)
		first, second := config.Node{Address: addr("127.0.1.1"), Port: 9000, Path: "/web/status"},
			config.Node{Address: addr("127.0.1.2"), Port: 9000, Path: "/web/status"}
		web.Nodes, db.Nodes, empty.Mode = []config.Node{first, second}, []config.Node{second}, config.ActivePassive
		r.fleet.set("127.0.1.1", 100)
		r.fleet.set("127.0.1.2", 100)
		r.boot(web, db, empty)
		dial, end := r.serve()
		defer end()
		for _, x := range all {
			if diff := cmp.Diff(x.wanted, x.replay(t, dial())); diff != "" {
				t.Errorf("%s:%d: %s (-want +got):\n%s", path, x.line, x.request[0], diff)
			}
			if x.why != "" && x.wanted == x.recorded {
				t.Errorf("%s:%d: lb's response equals big_brother's, although the file gives a reason for a difference", path, x.line)
			}
		}
	})
}
