package server

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/netx/listen"
)

// admitAll admits every client.
func admitAll(r *http.Request, _ string) (*http.Request, *listen.Refusal) { return r, nil }

// fakeClusters has one cluster, web.
type fakeClusters struct{ started, stopped int }

func (f *fakeClusters) Status(context.Context) api.Status {
	return api.Status{Clusters: []api.ClusterStatus{{Name: "web", Nodes: []api.NodeStatus{{Address: "10.0.0.1"}}}}}
}

func (f *fakeClusters) Start(_ context.Context, name, _ string) (bool, error) {
	if name != "web" {
		return false, &api.NoClusterError{Name: name}
	}
	f.started++
	return true, nil
}

func (f *fakeClusters) Stop(_ context.Context, name, _ string) (bool, error) {
	if name != "web" {
		return false, &api.NoClusterError{Name: name}
	}
	f.stopped++
	return false, nil
}

func FuzzHandler(f *testing.F) {
	f.Add("GET", "/", "")
	f.Add("PUT", "/cluster/web", "application/json")
	f.Add("DELETE", "/cluster/%2e%2e", "")
	f.Add("GET", "/fwmark/7", "")
	f.Add("GET", "//cluster/a%2fb/status_detail", "x")
	f.Fuzz(func(t *testing.T, method, target, accept string) {
		r, err := http.NewRequest(method, "http://lb", http.NoBody)
		if err != nil {
			return // net/http rejects such a method
		}
		u, err := r.URL.Parse(target)
		if err != nil {
			return // net/http rejects such a target
		}
		r.URL = u
		r.Header.Set("Accept", accept)
		r.RemoteAddr = netip.AddrPortFrom(netip.IPv6Loopback(), 1).String()
		fake := &fakeClusters{}
		w := httptest.NewRecorder()
		handler{Options: Options{Clusters: fake}, refusals: listen.NewRefusalLog(slog.New(slog.DiscardHandler)),
			admit: admitAll}.ServeHTTP(w, r)
		switch {
		case fake.started > 0 && (method != "PUT" || w.Code != 200), fake.stopped > 0 && (method != "DELETE" || w.Code != 304):
			t.Errorf("%s %q: %d starts, %d stops, status %d", method, target, fake.started, fake.stopped, w.Code)
		case w.Code != 200 && w.Code != 304 && w.Code != 404:
			t.Errorf("%s %q: status %d", method, target, w.Code)
		case w.Code == 304 && w.Body.Len() > 0:
			t.Errorf("a 304 with a body: %q", w.Body)
		}
	})
}
