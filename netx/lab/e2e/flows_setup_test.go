//go:build lab

package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/braintree/lb/netx/lab"
	"github.com/braintree/lb/netx/lab/labtest"
	"github.com/braintree/lb/netx/lab/testbed"
	"github.com/braintree/lb/netx/vip"
)

// flowVIP is the virtual IP of the tests of single connections and flows.
const flowVIP = "192.0.2.7"

// flowNode is a node that answers with its name: HTTP on port 80, lines behind GET /lines, datagrams on port 53. It serves its health on
// port 9293, as an agent does.
type flowNode struct {
	*lab.Host
	address string
	mu      sync.Mutex
	headers map[string]string // of its health page
}

// report sets the node's health page, as pairs of headers and values.
func (n *flowNode) report(pairs ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.headers = map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		n.headers[pairs[i]] = pairs[i+1]
	}
}

func (n *flowNode) health(w http.ResponseWriter, _ *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for name, value := range n.headers {
		w.Header().Set(name, value)
	}
}

// newFlowNode makes a host a node behind IPIP for the virtual IP.
func newFlowNode(t *testing.T, h *lab.Host, address string) *flowNode {
	t.Helper()
	n := &flowNode{Host: h, address: address, headers: map[string]string{"X-Health": "100"}}
	setSysctls(t, h, "net.ipv4.conf.all.arp_ignore", "1", "net.ipv4.conf.all.arp_announce", "2",
		"net.ipv4.conf.all.rp_filter", "0", "net.ipv4.conf.eth0.rp_filter", "0", "net.ipv4.conf.tunl0.rp_filter", "0")
	labtest.Run(t, h, "ip", "link", "set", "tunl0", "up")
	labtest.Run(t, h, "ip", "address", "add", flowVIP+"/32", "dev", "tunl0")
	app := http.NewServeMux()
	app.HandleFunc("GET /lines", func(w http.ResponseWriter, _ *http.Request) { testbed.Echo(w, h.Name()) })
	app.HandleFunc("POST /transactions", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, h.Name())
	})
	for port, handler := range map[string]http.Handler{"80": app, "9293": http.HandlerFunc(n.health)} {
		l, err := h.Listen(t.Context(), "tcp", "0.0.0.0:"+port)
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: handler, ReadHeaderTimeout: timeout}
		t.Cleanup(func() { _ = server.Close() })
		go func() { _ = server.Serve(l) }() // returns when closed
	}
	answerDatagrams(t, h, flowVIP+":53")
	return n
}

// flows is the setup: a client, balancers and nodes in one network. Some hosts may be both.
type flows struct {
	client *lab.Host
	hosts  map[string]*lab.Host
	binary string
	log    labtest.Output
}

// newFlows builds the hosts, by their names with the last byte of their addresses. load01 has the virtual IP.
func newFlows(t *testing.T, hosts map[string]int) *flows {
	t.Helper()
	l := labtest.New(t)
	network := labtest.Switch(t, l, "lan")
	f := &flows{hosts: map[string]*lab.Host{}, binary: binary(t), client: labtest.Host(t, l, network, "client", "192.0.2.100/24")}
	for name, number := range hosts {
		f.hosts[name] = labtest.Host(t, l, network, name, fmt.Sprintf("192.0.2.%d/24", number))
	}
	if err := f.hosts["load01"].Do(func() error {
		return vip.Add(t.Context(), "eth0", netip.PrefixFrom(netip.MustParseAddr(flowVIP), 32))
	}); err != nil {
		t.Fatal(err)
	}
	return f
}

// start runs lb balance on a host with a configuration, and waits until its clusters have as many nodes with weight 100.
func (f *flows) start(t *testing.T, host, config string, nodes int) *lab.Process {
	t.Helper()
	h := f.hosts[host]
	if err := h.WriteFile("/run/lb.toml", []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := h.Start(lab.Command{Path: f.binary, Args: []string{"balance", "-c", "/run/lb.toml"}, Stdout: &f.log, Stderr: &f.log})
	if err != nil {
		t.Fatal(err)
	}
	f.waitForTable(t, host, fmt.Sprintf("%d nodes with weight 100", nodes), func(saved string) bool {
		return strings.Count(saved, " -w 100") == nodes
	})
	return p
}

// waitForTable waits for a condition of the output of ipvsadm -Sn on a host.
func (f *flows) waitForTable(t *testing.T, host, what string, cond func(saved string) bool) {
	t.Helper()
	labtest.Eventually(t, timeout, what+" on "+host, func() (bool, string) {
		saved := labtest.Run(t, f.hosts[host], "ipvsadm", "-Sn")
		return cond(saved), saved + f.log.String()
	})
}

// ctl runs lb ctl on load01.
func (f *flows) ctl(t *testing.T, args ...string) string {
	t.Helper()
	return labtest.Run(t, f.hosts["load01"], "env", append([]string{"LB_CONFIG=/run/lb.toml", f.binary, "ctl"}, args...)...)
}

// udpFlow is a client's socket that asks the virtual IP again and again from one port.
type udpFlow struct{ net.PacketConn }

func (f *flows) newUDPFlow(t *testing.T, port int) udpFlow {
	t.Helper()
	c, err := f.client.ListenPacket(t.Context(), "udp", fmt.Sprintf("192.0.2.100:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return udpFlow{c}
}

// ask sends a question and returns who answers within the time; "" for nobody.
func (f udpFlow) ask(t *testing.T, within time.Duration) string {
	t.Helper()
	to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(flowVIP + ":53"))
	if _, err := f.WriteTo([]byte("who?"), to); err != nil {
		t.Fatal(err)
	}
	if err := f.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 512)
	n, _, err := f.ReadFrom(buffer)
	if err != nil {
		return ""
	}
	return string(buffer[:n])
}

// openLines opens a connection on which each line is answered, and returns a function that asks once.
func (f *flows) openLines(t *testing.T) (ask func() (string, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	conn, err := f.client.Dial(ctx, "tcp", flowVIP+":80")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, "GET /lines HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return func() (string, error) {
		if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
			return "", err
		}
		if _, err := io.WriteString(conn, "who?\n"); err != nil {
			return "", err
		}
		buffer := make([]byte, 512)
		n, err := conn.Read(buffer)
		return strings.TrimSpace(string(buffer[:n])), err
	}
}
