//go:build lab

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"text/template"

	"github.com/braintree/lb/netx/lab"
	"github.com/braintree/lb/netx/lab/labtest"
	"github.com/braintree/lb/netx/lab/testbed"
	"github.com/braintree/lb/netx/vip"
)

// method is a forwarding method, tested by one cluster. The cluster has an IPv4 and an IPv6 virtual IP with TCP, UDP and SCTP ports.
type method struct {
	Name                   string // forwarding method, and name of the cluster
	Mark                   int
	IPv4                   string
	IPv6                   string
	ipvsadm                string // the method's flag in ipvsadm -Sn
	returnsThroughBalancer bool   // whether responses pass through the balancer
}

func methods() []method {
	return []method{
		{"ipip", 11, "192.0.2.11", "2001:db8:1::11", "-i", false},
		{"dr", 12, "192.0.2.12", "2001:db8:1::12", "-g", false},
		{"nat", 13, "192.0.2.13", "2001:db8:1::13", "-m", true},
	}
}

// unreachable is a cluster whose nodes do not exist.
var unreachable = method{Name: "gone", IPv4: "192.0.2.14", IPv6: "2001:db8:1::14"}

// forwardingConfig is the lb.toml of both balancers. They synchronize connections over the private network.
var forwardingConfig = template.Must(template.New("lb.toml").Parse(`
[balancer]
set_sysctls = true
sync = { interface = "eth1", id = 7 }
{{range .}}
[clusters.{{.Name}}]
fwmark         = {{.Mark}}
scheduler      = "wrr"
forwarding     = "{{.Name}}"
check_interval = "1s"
ramp_up_time   = "0s"
autostart      = true
vips = [
  { address = "{{.IPv4}}", ports = [80] }, { address = "{{.IPv4}}", protocol = "udp", ports = [53] },
  { address = "{{.IPv4}}", protocol = "sctp", ports = [80] },
  { address = "{{.IPv6}}", ports = [80] }, { address = "{{.IPv6}}", protocol = "udp", ports = [53] },
  { address = "{{.IPv6}}", protocol = "sctp", ports = [80] },
]
nodes = [ { address = "10.0.0.1" }, { address = "10.0.0.2" }, { address = "fd00::1" }, { address = "fd00::2" } ]
{{end}}
[clusters.gone]
fwmark         = 14
all_down       = "downpage"
downpage       = { page = true }
check_interval = "1s"
autostart      = true
vips  = [ { address = "192.0.2.14", ports = [80] }, { address = "2001:db8:1::14", ports = [80] } ]
nodes = [ { address = "10.0.0.99" }, { address = "fd00::99" } ]
`))

// forwarding is the setup: a client, two balancers and two app nodes. All are in the public network (eth0), and all but the client in the
// private one (eth1). The balancers run as a user with CAP_NET_ADMIN and no other capability.
type forwarding struct {
	client, load01, load02 *lab.Host
	apps                   []*lab.Host
	binary                 string
	daemon                 *lab.Process // lb balance on load01
	log                    labtest.Output
}

const forwardingConfigPath = "/run/lb.toml"

func newForwarding(t *testing.T) *forwarding {
	t.Helper()
	// Gives every host an ip6tnl0, as it has a tunl0, and SCTP sockets.
	if out, err := exec.CommandContext(t.Context(), "modprobe", "-a", "ip6_tunnel", "sctp").CombinedOutput(); err != nil {
		t.Fatalf("modprobe ip6_tunnel sctp: %v: %s", err, out)
	}
	f := &forwarding{binary: binary(t)}
	l := labtest.New(t)
	public, private := labtest.Switch(t, l, "public"), labtest.Switch(t, l, "private")
	host := func(name string, number int, inside bool) *lab.Host {
		links := []lab.Link{{Switch: public, Interface: "eth0", Addresses: []netip.Prefix{
			netip.MustParsePrefix(fmt.Sprintf("192.0.2.%d/24", 100+number)),
			netip.MustParsePrefix(fmt.Sprintf("2001:db8:1::1%02d/64", number)),
		}}}
		if inside {
			links = append(links, lab.Link{Switch: private, Interface: "eth1", Addresses: []netip.Prefix{
				netip.MustParsePrefix(fmt.Sprintf("10.0.0.%d/24", number)), netip.MustParsePrefix(fmt.Sprintf("fd00::%d/64", number)),
			}})
		}
		h, err := l.Host(name, links...)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	f.client, f.load01, f.load02 = host("client", 0, false), host("load01", 11, true), host("load02", 12, true)
	for n := 1; n <= 2; n++ {
		f.apps = append(f.apps, host(fmt.Sprintf("app%02d", n), n, true))
		setUpRealServer(t, f.apps[n-1], n)
		serveName(t, f.apps[n-1], n)
	}
	var config bytes.Buffer
	if err := forwardingConfig.Execute(&config, methods()); err != nil {
		t.Fatal(err)
	}
	for _, h := range []*lab.Host{f.load01, f.load02} {
		if err := h.WriteFile(forwardingConfigPath, config.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		setSysctls(t, h, "net.ipv4.ip_forward", "1", "net.ipv6.conf.all.forwarding", "1")
	}
	for _, m := range methods() {
		f.moveVIPs(t, m, nil, f.load01)
	}
	f.moveVIPs(t, unreachable, nil, f.load01)
	f.daemon = f.startBalancer(t, f.load01)
	f.startBalancer(t, f.load02)
	return f
}

// moveVIPs moves a cluster's virtual IPs to a balancer, from another unless from is nil.
func (f *forwarding) moveVIPs(t *testing.T, m method, from, to *lab.Host) {
	t.Helper()
	for _, address := range []string{m.IPv4, m.IPv6} {
		a := netip.MustParseAddr(address)
		p := netip.PrefixFrom(a, a.BitLen())
		if from != nil {
			if err := from.Do(func() error { return vip.Remove(t.Context(), "eth0", p) }); err != nil {
				t.Fatal(err)
			}
		}
		if err := to.Do(func() error { return vip.Add(t.Context(), "eth0", p) }); err != nil {
			t.Fatal(err)
		}
	}
}

// startBalancer runs lb balance as nobody with CAP_NET_ADMIN and no other capability, and waits until it accepts connections.
func (f *forwarding) startBalancer(t *testing.T, h *lab.Host) *lab.Process {
	t.Helper()
	labtest.Run(t, h, "install", "-d", "-o", "65534", "-g", "65534", "/run/lb", "/var/lib/lb")
	p, err := h.Start(lab.Command{
		Path: "setpriv",
		Args: []string{
			"--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all,+net_admin", "--ambient-caps=-all,+net_admin",
			"--bounding-set=-all,+net_admin", "--no-new-privs", f.binary, "balance", "-c", forwardingConfigPath,
		},
		Stdout: &f.log, Stderr: &f.log,
	})
	if err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, timeout, "lb balance on "+h.Name()+" accepts connections", func() (bool, string) {
		conn, err := h.Dial(t.Context(), "unix", "/run/lb/balancer.sock")
		if err != nil {
			return false, err.Error() + "\n" + f.log.String()
		}
		return conn.Close() == nil, ""
	})
	return p
}

// ctl runs lb ctl as root on load01.
func (f *forwarding) ctl(t *testing.T, args ...string) string {
	t.Helper()
	return labtest.Run(t, f.load01, "env", append([]string{"LB_CONFIG=" + forwardingConfigPath, f.binary, "ctl"}, args...)...)
}

func setSysctls(t *testing.T, h *lab.Host, pairs ...string) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if err := h.Sysctl(pairs[i], pairs[i+1]); err != nil {
			t.Fatal(err)
		}
	}
}

// setUpRealServer sets an app node up for all methods. It does not use lb's own tunnel set-up, to test balancers alone.
func setUpRealServer(t *testing.T, h *lab.Host, number int) {
	t.Helper()
	setSysctls(t, h, "net.ipv4.conf.all.arp_ignore", "1", "net.ipv4.conf.all.arp_announce", "2",
		"net.ipv4.conf.all.rp_filter", "0", "net.ipv4.conf.tunl0.rp_filter", "0")
	ip := func(line string) {
		t.Helper()
		labtest.Run(t, h, "ip", strings.Fields(line)...)
	}
	ms := methods()
	ip("link set tunl0 up")
	ip("link set ip6tnl0 up")
	ip("address add " + ms[0].IPv4 + "/32 dev tunl0")
	ip("address add " + ms[0].IPv6 + "/128 dev ip6tnl0 nodad")
	ip("address add " + ms[1].IPv4 + "/32 dev lo")
	ip("address add " + ms[1].IPv6 + "/128 dev lo nodad")
	// Responses to NAT requests return through the balancer.
	ip(fmt.Sprintf("rule add from 10.0.0.%d lookup 100", number))
	ip("route add 192.0.2.0/24 via 10.0.0.11 table 100")
	ip("route add 10.0.0.0/24 dev eth1 table 100")
	ip(fmt.Sprintf("-6 rule add from fd00::%d lookup 100", number))
	ip("-6 route add 2001:db8:1::/64 via fd00::11 table 100")
	ip("-6 route add fd00::/64 dev eth1 table 100")
}

// serveName responds with the host's name: to HTTP on port 80 over TCP and SCTP, and on port 9293 in place of an agent; to each datagram on
// port 53; and to each line on a connection that requested /lines on port 80.
func serveName(t *testing.T, h *lab.Host, number int) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /lines", func(w http.ResponseWriter, _ *http.Request) { testbed.Echo(w, h.Name()) })
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Health", "100")
		fmt.Fprint(w, h.Name())
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: timeout}
	t.Cleanup(func() { _ = server.Close() })
	answer := func(l net.Listener) { go func() { _ = server.Serve(l) }() } // returns when closed
	for _, address := range []string{"[::]:80", "[::]:9293"} {
		l, err := h.Listen(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		answer(l)
	}
	// One socket per address, so that the response to a datagram comes from the address that the request went to.
	ms := methods()
	own := []string{fmt.Sprintf("10.0.0.%d", number), fmt.Sprintf("fd00::%d", number)}
	for _, a := range append(own, ms[0].IPv4, ms[0].IPv6, ms[1].IPv4, ms[1].IPv6) {
		answer(listenSCTP(t, h, netip.MustParseAddrPort(net.JoinHostPort(a, "80"))))
		answerDatagrams(t, h, net.JoinHostPort(a, "53"))
	}
}

// answerDatagrams answers each datagram to an address and port of a host with the host's name.
func answerDatagrams(t *testing.T, h *lab.Host, address string) {
	t.Helper()
	c, err := h.ListenPacket(t.Context(), "udp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	go func() {
		buffer := make([]byte, 512)
		for {
			_, from, err := c.ReadFrom(buffer)
			if err != nil {
				return // closed
			}
			_, _ = c.WriteTo([]byte(h.Name()), from)
		}
	}()
}

// request sends one request, on a new connection or from a new port, and returns the response.
func (f *forwarding) request(t *testing.T, protocol, address string) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	port, request := "80", "GET / HTTP/1.0\r\n\r\n"
	if protocol == "udp" {
		port, request = "53", "who?"
	}
	conn, err := f.dial(ctx, protocol, net.JoinHostPort(address, port))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, request); err != nil {
		return "", err
	}
	if protocol == "udp" {
		answer := make([]byte, 512)
		n, err := conn.Read(answer)
		return string(answer[:n]), err
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return string(body), err
}

// dial connects the client to an address and port over IPv4 or IPv6.
func (f *forwarding) dial(ctx context.Context, protocol, address string) (net.Conn, error) {
	if protocol != "sctp" {
		return f.client.Dial(ctx, protocol, address)
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	from := netip.MustParseAddr("192.0.2.100")
	if to.Addr().Is6() {
		from = netip.MustParseAddr("2001:db8:1::100")
	}
	return dialSCTP(f.client, from, to)
}

// waitForAllWeights waits until every node of every cluster has weight 100 on a balancer.
func waitForAllWeights(t *testing.T, f *forwarding, h *lab.Host) {
	t.Helper()
	labtest.Eventually(t, timeout, "twelve nodes with weight 100 on "+h.Name(), func() (bool, string) {
		saved := labtest.Run(t, h, "ipvsadm", "-Sn")
		return strings.Count(saved, " -w 100") == 4*len(methods()), saved + f.log.String()
	})
}
