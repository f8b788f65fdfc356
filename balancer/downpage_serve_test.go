package balancer

import (
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

// ownPageConfig is a daemon's configuration with a downpage that lb serves. Its virtual IP is on loopback, so that tests reach the page.
func ownPageConfig(t *testing.T, node config.Node) *config.Config {
	cfg := daemonConfig(t, node)
	c := &cfg.Clusters[0]
	c.VIPs[0].Address = addr("127.0.0.1")
	c.AllDown = config.ToPage
	c.Downpage.OwnPage = config.OwnPage{Page: true, RetryAfter: 7 * time.Second}
	return cfg
}

// pageDestination returns the page's destination in the kernel; false if there is none with weight.
func pageDestination(t *testing.T, o Options) (ipvs.Destination, bool) {
	t.Helper()
	services, err := o.Table.Dump(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range services {
		for _, d := range s.Destinations {
			if d.Port != 0 && d.Weight > 0 {
				return d, true
			}
		}
	}
	return ipvs.Destination{}, false
}

func TestLBServesItsOwnDownpageWhenNoNodeIsLeft(t *testing.T) {
	health, node := fakeAgent(t)
	cfg := ownPageConfig(t, node)
	html := filepath.Join(t.TempDir(), "sorry.html")
	reload := make(chan struct{})
	o := options(cfg)
	o.Reload = reload
	b, _ := runDaemon(t, o)
	socket := cfg.Balancer.Control
	if status, body := request(t, b, socket, "PUT", "/cluster/web"); status != 200 {
		t.Fatalf("start: %d %s", status, body)
	}
	if d, in := pageDestination(t, o); in {
		t.Errorf("the page is in the kernel beside a healthy node: %+v", d)
	}
	health.Store(0)
	var page ipvs.Destination
	eventually(t, "the page is in the kernel", func() (in bool) { page, in = pageDestination(t, o); return in })
	if page.Address != addr("127.0.0.1") || page.Forwarding != ipvs.Masq || page.Weight != 1 {
		t.Errorf("the page's destination is %+v", page)
	}
	url := "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(int(page.Port)))
	get := func() (*http.Response, string) {
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
	if resp, body := get(); resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "7" || !strings.Contains(body, "<h1>") {
		t.Errorf("%s, %v, %q", resp.Status, resp.Header, body)
	}
	if err := os.WriteFile(html, []byte("<p>sorry"), 0o600); err != nil {
		t.Fatal(err)
	}
	changed := *cfg
	changed.Clusters = []config.Cluster{cfg.Clusters[0]}
	changed.Clusters[0].Downpage.HTML = html
	if err := b.engine.Reload(t.Context(), &changed, false); err != nil {
		t.Fatal(err)
	}
	if _, body := get(); body != "<p>sorry" {
		t.Errorf("after a reload with downpage.html: %q", body)
	}
	if again, in := pageDestination(t, o); !in || again.Port != page.Port {
		t.Errorf("the reload moved the page from %+v to %+v", page, again)
	}
	changed.Clusters[0].Downpage.HTML = html + ".missing"
	if err := b.engine.Reload(t.Context(), &changed, false); err == nil || !strings.Contains(err.Error(), "clusters.web.downpage.html") {
		t.Errorf("reload with a missing page: %v", err)
	}
	health.Store(90)
	eventually(t, "the page is out of the kernel", func() bool { _, in := pageDestination(t, o); return !in })
	if status, _ := request(t, b, socket, "DELETE", "/cluster/web"); status != 200 {
		t.Errorf("stop: %d", status)
	}
	eventually(t, "the page of a stopped cluster is closed", func() bool {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
}
