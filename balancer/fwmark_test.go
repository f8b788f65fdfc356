package balancer

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/braintree/lb/config"
)

// getAt requests a path from a handler, as a client that is connected to that local address of the balancer.
func getAt(h http.Handler, path, local string) (int, string) {
	r := httptest.NewRequest("GET", path, nil)
	address := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(local))
	r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, address))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestFwmarkReportsTheClustersWeight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 50)
		r.fleet.set("10.0.0.2", 30)
		r.boot(webapp("web", 7, 1, 2), webapp("db", 8, 1))
		h := r.handler()
		if code, body := getAt(h, "/fwmark/7", "10.1.0.5:9292"); code != 200 || body != "[]" {
			t.Errorf("a stopped cluster: %d %s", code, body)
		}
		r.start("web")
		r.start("db")
		const want = `[{"aggregated_health":80,"count":1,"lb_ip_address":"10.1.0.5","lb_url":"http://10.1.0.5:9292/fwmark/7",` +
			`"health":80,"lb_source_location":""}]`
		if code, body := getAt(h, "/fwmark/7", "10.1.0.5:9292"); code != 200 || body != want {
			t.Errorf("got %d %s\nwant %s", code, body, want)
		}
		if _, body := getAt(h, "/fwmark/7", "[::ffff:10.1.0.5]:9292"); body != want {
			t.Errorf("on a dual-stack listener: %s", body)
		}
		for _, path := range []string{"/fwmark/9", "/fwmark/", "/fwmark/-7", "/fwmark/7/x", "/fwmark/4294967303", "/fwmark"} {
			if code, body := getAt(h, path, "10.1.0.5:9292"); code != 404 {
				t.Errorf("%s: %d %s", path, code, body)
			}
		}
		next := &config.Config{Balancer: config.Balancer{Location: "dc1", RelayAddress: netip.MustParseAddr("192.0.2.1")},
			Clusters: []config.Cluster{webapp("web", 7, 1, 2), webapp("db", 8, 1)}}
		if err := r.engine.Reload(t.Context(), next, false); err != nil {
			t.Fatal(err)
		}
		const named = `[{"aggregated_health":50,"count":1,"lb_ip_address":"192.0.2.1","lb_url":"http://10.1.0.5:9292/fwmark/8",` +
			`"health":50,"lb_source_location":"dc1"}]`
		if _, body := getAt(h, "/fwmark/8", "10.1.0.5:9292"); body != named {
			t.Errorf("with location and relay_address: %s\nwant %s", body, named)
		}
	})
}
