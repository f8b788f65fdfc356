package watch

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/config"
)

// recorded is the page that big_brother receives in compat/bigbro-interpol.txt.
const recorded = `[{"aggregated_health": 80, "count": 1, "lb_ip_address": "10.9.0.1", "lb_url": "http://10.9.0.1/lvs.json", ` +
	`"health": 80, "lb_source_location": "dc2"}, ` +
	`{"aggregated_health": 60, "count": 1, "lb_ip_address": "10.9.0.2", "lb_url": "http://10.9.0.2/lvs.json", ` +
	`"health": 60, "lb_source_location": "dc3"}]`

func TestParseSite(t *testing.T) {
	entry := func(address, health string) string {
		return fmt.Sprintf(`{"lb_ip_address":%s,"health":%s}`, address, health)
	}
	tests := []struct {
		name, body string
		want       string // the balancers, or part of the error
	}{
		{"as recorded", recorded, "[{10.9.0.1 80 dc2} {10.9.0.2 60 dc3}]"},
		{"empty", " [] \n", "[]"},
		{"an object", `{"a":1}`, `not a JSON list: "{\"a\":1}"`},
		{"null", "null", "not a JSON list"},
		{"nothing", "", "not a JSON list"},
		{"no JSON", "not json", "not a JSON list"},
		{"cut off", recorded[:100], "unexpected end"},
		{"trailing data", "[] []", "after top-level value"},
		{"a list of numbers", "[1]", "cannot unmarshal number"},
		{"a list of nulls", "[null]", "element 0: lb_ip_address is missing"},
		{"deep", strings.Repeat("[", 30000), "exceeded max depth"},
		{"health missing", `[{"lb_ip_address":"10.9.0.1"}]`, "health is missing"},
		{"health null", "[" + entry(`"10.9.0.1"`, "null") + "]", "health is missing"},
		{"health a string", "[" + entry(`"10.9.0.1"`, `"12"`) + "]", "cannot unmarshal string"},
		{"health negative", "[" + entry(`"10.9.0.1"`, "-1") + "]", "health -1 is negative"},
		{"health huge", "[" + entry(`"10.9.0.1"`, "1e300") + "]", "[{10.9.0.1 65536 }]"},
		{"health beyond float64", "[" + entry(`"10.9.0.1"`, "1e999") + "]", "cannot unmarshal number"},
		{"health with a fraction", "[" + entry(`"10.9.0.1"`, "33.9") + "]", "[{10.9.0.1 33 }]"},
		{"no address", "[" + entry(`"dc2.example.com"`, "1") + "]", "not a global unicast address"},
		{"loopback", "[" + entry(`"127.0.0.1"`, "1") + "]", "not a global unicast address"},
		{"broadcast", "[" + entry(`"255.255.255.255"`, "1") + "]", "not a global unicast address"},
		{"multicast", "[" + entry(`"ff02::1"`, "1") + "]", "not a global unicast address"},
		{"with a zone", "[" + entry(`"fe80::1%eth0"`, "1") + "]", "not a global unicast address"},
		{"IPv4-mapped IPv6", "[" + entry(`"::ffff:10.9.0.1"`, "1") + "]", "[{10.9.0.1 1 }]"},
		{"one address twice", "[" + entry(`"10.9.0.1"`, "9") + "," + entry(`"10.9.0.1"`, "4") + "]", "[{10.9.0.1 4 }]"},
		{"too many", "[" + strings.TrimSuffix(strings.Repeat(entry(`"10.9.0.1"`, "9")+",", 65), ",") + "]",
			"65 balancers, the limit is 64"},
		{"location with a newline", `[{"lb_ip_address":"10.9.0.1","health":1,"lb_source_location":"dc\n2"}]`, "[{10.9.0.1 1 dc 2}]"},
		{"location not a string", `[{"lb_ip_address":"10.9.0.1","health":1,"lb_source_location":[2]}]`, "cannot unmarshal array"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			balancers, err := parseSite([]byte(tt.body))
			got := fmt.Sprint(balancers)
			if err != nil {
				got = err.Error()
			}
			if strings.HasPrefix(tt.want, "[") && got != tt.want || !strings.Contains(got, tt.want) {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if err != nil && len(balancers) > 0 {
				t.Errorf("balancers besides the error: %v", balancers)
			}
		})
	}
}

// pages serves GET /fwmark/MARK: 404 for paths without a body.
type pages map[string]string

func (p pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, ok := p[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	if body == "500" {
		w.WriteHeader(500)
		return
	}
	fmt.Fprint(w, body)
}

func pollSite(t *testing.T, at net.Addr, timeout time.Duration) SiteReading {
	t.Helper()
	c := config.Cluster{Name: "web", Mark: 1, Relay: config.Relay{Mark: 10001}}
	p := NewSitePoller(c, config.Site{At: netip.MustParseAddrPort(at.String())})
	defer p.Close()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	return p.Poll(ctx)
}

func TestSitePollerFetchesBothPages(t *testing.T) {
	const one = `[{"lb_ip_address":"10.9.0.1","health":33}]`
	tests := []struct {
		name      string
		pages     pages
		answered  bool
		balancers string
		detail    string
	}{
		{"as recorded", pages{"/fwmark/1": recorded, "/fwmark/10001": recorded}, true, "[{10.9.0.1 80 dc2} {10.9.0.2 60 dc3}]", ""},
		{"the lower health counts", pages{"/fwmark/1": recorded, "/fwmark/10001": one}, true, "[{10.9.0.1 33 dc2}]", ""},
		{"no relay there", pages{"/fwmark/1": recorded}, true, "[]", "/fwmark/10001 does not exist there"},
		{"no cluster there", pages{}, true, "[]", "/fwmark/1 does not exist there"},
		{"does not run there", pages{"/fwmark/1": "[]", "/fwmark/10001": "[]"}, true, "[]", "/fwmark/1 lists no balancer"},
		{"relay list empty", pages{"/fwmark/1": recorded, "/fwmark/10001": "[]"}, true, "[]", "/fwmark/10001 lists no balancer"},
		{"no balancer on both", pages{"/fwmark/1": recorded, "/fwmark/10001": `[{"lb_ip_address":"10.9.0.7","health":3}]`}, true, "[]",
			"no balancer is on both"},
		{"an object", pages{"/fwmark/1": `{"a":1}`}, false, "[]", "/fwmark/1: not a JSON list"},
		{"an error", pages{"/fwmark/1": "500"}, false, "[]", "/fwmark/1: status 500"},
		{"too long", pages{"/fwmark/1": "[" + strings.Repeat(" ", maxResponseBody) + "]"}, false, "[]", "response exceeds 64 KiB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(tt.pages)
			defer server.Close()
			r := pollSite(t, server.Listener.Addr(), 10*time.Second)
			if r.Answered != tt.answered || fmt.Sprint(r.Balancers) != tt.balancers || !strings.Contains(r.Detail, tt.detail) ||
				(r.Detail == "") != (tt.detail == "") || r.At.IsZero() {
				t.Errorf("got %+v", r)
			}
		})
	}
}

func TestSiteThatDoesNotRespond(t *testing.T) {
	l := listenOn(t, "127.0.0.1:0")
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close() // accepts and never responds
		}
	})
	if r := pollSite(t, l.Addr(), 50*time.Millisecond); r.Answered || !strings.Contains(r.Detail, "timeout after") {
		t.Errorf("no response: %+v", r)
	}
	_ = l.Close()
	serving.Wait()
	if r := pollSite(t, l.Addr(), 10*time.Second); r.Answered || r.Detail != "connection refused" {
		t.Errorf("nothing listens: %+v", r)
	}
}

// countingPoller counts calls.
type countingPoller struct{ polls, closed int }

func (p *countingPoller) Poll(context.Context) SiteReading {
	p.polls++
	return SiteReading{At: time.Now()}
}
func (p *countingPoller) Close() { p.closed++ }

func TestSiteIsPolledEveryInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config.Cluster{Name: "web", CheckInterval: 2 * time.Second, CheckTimeout: time.Second}
		at := config.Site{At: netip.MustParseAddrPort("10.2.0.5:9292")}
		s, p, out := NewSiteWatcher(c, at), &countingPoller{}, make(chan SiteUpdate, 100)
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { s.Run(ctx, p, out) })
		time.Sleep(20*time.Second + time.Millisecond)
		stop()
		running.Wait()
		if len(out) != 11 && len(out) != 12 || p.polls != len(out) || p.closed != 1 {
			t.Errorf("%d polls, %d readings in 20 s, closed %d times", p.polls, len(out), p.closed)
		}
		if c.CheckTimeout = 500 * time.Millisecond; !s.Matches(config.Cluster{Name: "web", CheckInterval: 2 * time.Second,
			CheckTimeout: time.Second}, at) || s.Matches(c, at) {
			t.Error("Matches is wrong")
		}
	})
}

func FuzzParseSite(f *testing.F) {
	f.Add([]byte(recorded))
	f.Add([]byte(`{"a":1}`))
	f.Add([]byte(`[{"lb_ip_address":"::ffff:10.9.0.1","health":1e300,"lb_source_location":"\u202e\n"},null]`))
	f.Add([]byte(`[{"lb_ip_address":"fe80::1","health":-0.0}]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		balancers, err := parseSite(body)
		if err != nil {
			if text := err.Error(); len(balancers) > 0 || text == "" || !utf8.ValidString(text) || strings.ContainsAny(text, "\n\r\x1b") {
				t.Errorf("%d balancers and the error %q", len(balancers), text)
			}
			return
		}
		for i, b := range balancers {
			if !b.Address.IsGlobalUnicast() || b.Address.Is4In6() || b.Health < 0 || b.Health > decide.MaxWeight+1 ||
				len(b.Location) > maxLocation {
				t.Errorf("invalid balancer %+v", b)
			}
			if i > 0 && balancers[i-1].Address.Compare(b.Address) >= 0 {
				t.Errorf("not sorted, or with duplicates: %v", balancers)
			}
		}
		if !slices.Equal(onBothPages(balancers, balancers), balancers) {
			t.Errorf("balancers on both pages are missing: %v", balancers)
		}
	})
}
