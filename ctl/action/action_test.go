package action

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"go.uber.org/goleak"

	"github.com/braintree/lb/balancer/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeDaemon responds from a table and records its requests.
type fakeDaemon struct {
	responses map[string]response // by method and path
	requests  []string
}

// response is a status and a body. json, if any, is the body of a request for JSON.
type response struct {
	status int
	text   string
	json   string
}

func (d *fakeDaemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	d.requests = append(d.requests, r.Method+" "+r.URL.Path+" "+r.Form.Encode())
	a, ok := d.responses[r.Method+" "+r.URL.Path]
	if !ok {
		a = response{status: http.StatusNotFound, text: "NOT FOUND", json: `{"error":"not found"}`}
	}
	w.WriteHeader(a.status)
	if a.status == http.StatusNotModified {
		return
	}
	if r.Header.Get("Accept") == "application/json" && a.json != "" {
		fmt.Fprint(w, a.json)
		return
	}
	fmt.Fprint(w, a.text)
}

// client starts the daemon and returns a client of it.
func (d *fakeDaemon) client(t *testing.T, kind client.Daemon) *client.Client {
	t.Helper()
	srv := httptest.NewServer(d)
	t.Cleanup(srv.Close)
	c, err := client.New(kind, srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// wantError compares an error's text; "": no error.
func wantError(t *testing.T, err error, want string) {
	t.Helper()
	got := ""
	if err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("error %q, want %q", got, want)
	}
}
