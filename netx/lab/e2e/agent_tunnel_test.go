//go:build lab

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/braintree/lb/agent/api"
	"github.com/braintree/lb/netx/lab"
	"github.com/braintree/lb/netx/lab/labtest"
)

// noticeLimit is how long after a change its notification may take to reach the agent. Most of it is for the emulated processor and
// the gap after earlier changes: without notifications it would be up to 30 s.
const noticeLimit = 3 * time.Second

const agentTunnelConfig = `
[agent.tunnel]
%s = true

[services.webapp]
metrics = [ { type = "constant", weight = 100 } ]

[services.other]
metrics = [ { type = "constant", weight = 100 } ]

[clusters.webapp]
fwmark = 7
vips   = [ { address = "192.0.2.100", ports = [80] }, { address = "2001:db8:1::100", ports = [80] } ]
nodes  = [ { address = "10.9.0.2" }, { address = "fd09::2" } ]

[clusters.other]
fwmark = 8
vips   = [ { address = "192.0.2.101", ports = [80] } ]
nodes  = [ { address = "10.9.0.2" } ]
`

// tunnelStage is an app node with an agent, a client, and between them a balancer with tunnel interfaces in place of IPVS.
type tunnelStage struct {
	client, balancer, app *lab.Host
	agent                 *lab.Process
	log                   labtest.Output
	received              atomic.Int64 // bytes that the app has received
}

func newTunnelStage(t *testing.T) *tunnelStage {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "modprobe", "ip6_tunnel").CombinedOutput(); err != nil {
		t.Fatalf("modprobe ip6_tunnel: %v: %s", err, out)
	}
	l := labtest.New(t)
	lan := labtest.Switch(t, l, "lan")
	s := &tunnelStage{
		client:   labtest.Host(t, l, lan, "client", "10.9.0.9/24", "fd09::9/64"),
		balancer: labtest.Host(t, l, lan, "load01", "10.9.0.1/24", "fd09::1/64"),
		app:      labtest.Host(t, l, lan, "app01", "10.9.0.2/24", "fd09::2/64"),
	}
	labtest.Run(t, s.balancer, "sh", "-ec", `
		sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
		ip link add toapp type ipip local 10.9.0.1 remote 10.9.0.2
		ip link add toapp6 type ip6tnl mode ip6ip6 local fd09::1 remote fd09::2 encaplimit none
		ip link set toapp up; ip link set toapp6 up
		ip route add 192.0.2.100/32 dev toapp; ip -6 route add 2001:db8:1::100/128 dev toapp6`)
	// The client gets no ICMP about packets that do not fit: that is what the MSS is for.
	labtest.Run(t, s.client, "sh", "-ec", `
		ip route add 192.0.2.100/32 via 10.9.0.1; ip -6 route add 2001:db8:1::100/128 via fd09::1
		nft 'add table inet noicmp; add chain inet noicmp c { type filter hook input priority 0; }'
		nft 'add rule inet noicmp c icmp type destination-unreachable drop; add rule inet noicmp c icmpv6 type packet-too-big drop'`)
	s.serve(t)
	return s
}

// serve counts what the app receives on port 80.
func (s *tunnelStage) serve(t *testing.T) {
	t.Helper()
	listener, err := s.app.Listen(t.Context(), "tcp", "[::]:80")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: timeout, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		s.received.Add(n)
		fmt.Fprint(w, n)
	})}
	t.Cleanup(func() { _ = server.Close() })
	go func() { _ = server.Serve(listener) }() // returns when closed
}

// start runs lb agent with enabled or watch_only.
func (s *tunnelStage) start(t *testing.T, mode string) {
	t.Helper()
	if err := s.app.WriteFile("/run/lb.toml", fmt.Appendf(nil, agentTunnelConfig, mode), 0o644); err != nil {
		t.Fatal(err)
	}
	var err error
	s.agent, err = s.app.Start(lab.Command{Path: binary(t), Args: []string{"agent", "-c", "/run/lb.toml"}, Stdout: &s.log, Stderr: &s.log})
	if err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, timeout, "the agent is ready", func() (bool, string) {
		return strings.Contains(s.log.String(), "agent is ready"), s.log.String()
	})
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.log.String())
		}
	})
}

// report is GET / of the agent.
func (s *tunnelStage) report(t *testing.T) api.Report {
	t.Helper()
	client := http.Client{Timeout: timeout, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return s.app.Dial(ctx, network, address)
		}}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:9293/", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "application/json")
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var r api.Report
	if err := json.NewDecoder(response.Body).Decode(&r); err != nil {
		t.Fatal(err)
	}
	return r
}

// health returns the health of webapp, its reason, and the health of the other service.
func (s *tunnelStage) health(t *testing.T) (health int, reason string, other int) {
	t.Helper()
	for _, service := range s.report(t).Services {
		if service.Name == "webapp" {
			health, reason = service.Health, service.Tunnel
		} else {
			other = service.Health
		}
	}
	return health, reason, other
}

// expectHealth waits until webapp has a health for a reason.
func (s *tunnelStage) expectHealth(t *testing.T, health int, reason string) {
	t.Helper()
	labtest.Eventually(t, timeout, fmt.Sprintf("webapp has health %d %s", health, reason), func() (bool, string) {
		got, why, _ := s.health(t)
		matches := why == reason || reason != "" && strings.Contains(why, reason)
		return got == health && matches, fmt.Sprint(got, " ", why, "\n", s.log.String())
	})
}

// upload sends 200 kB to a virtual IP.
func (s *tunnelStage) upload(t *testing.T, vip string) {
	t.Helper()
	client := http.Client{Timeout: timeout, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return s.client.Dial(ctx, network, address)
		}}}
	defer client.CloseIdleConnections()
	url := "http://" + netip.AddrPortFrom(netip.MustParseAddr(vip), 80).String() + "/"
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(make([]byte, 200_000)))
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatalf("upload to %s: %v\n%s", vip, err, s.log.String())
	}
	defer response.Body.Close()
	if got, err := io.ReadAll(response.Body); err != nil || string(got) != "200000" {
		t.Fatalf("upload to %s: %q, %v", vip, got, err)
	}
}

// tunnelFaults are commands of other programs, what the agent calls them, and what proves the repair.
func tunnelFaults() []struct{ name, by, fault, proof string } {
	const (
		table    = "nftables table inet lb_agent is missing or changed"
		tableOK  = "nft list table inet lb_agent | grep -q 'maxseg size set 1440'"
		table6OK = "nft list table inet lb_agent | grep -q 'maxseg size set 1400'"
		addrOK   = "ip addr show dev tunl0 | grep -q 192.0.2.100/32"
		addr6OK  = "ip addr show dev ip6tnl0 | grep -q 2001:db8:1::100/128"
	)
	return []struct{ name, by, fault, proof string }{
		{"link_down", "ip link set tunl0 down", "tunl0 is down", "ip link show tunl0 | grep -q ,UP && " + addrOK},
		{"IPv6_link_down", "ip link set ip6tnl0 down; ip -6 addr flush dev ip6tnl0", "ip6tnl0 is down",
			"ip link show ip6tnl0 | grep -q ,UP && " + addr6OK},
		{"address_deleted", "ip addr del 192.0.2.100/32 dev tunl0", "192.0.2.100 is not on tunl0", addrOK},
		{"addresses_flushed", "ip addr flush dev tunl0", "192.0.2.100 is not on tunl0", addrOK},
		{"IPv6_address_deleted", "ip addr del 2001:db8:1::100/128 dev ip6tnl0", "2001:db8:1::100 is not on ip6tnl0", addr6OK},
		{"arp_ignore", "sysctl -w net.ipv4.conf.all.arp_ignore=0", "net/ipv4/conf/all/arp_ignore is 0, not 1",
			"test $(cat /proc/sys/net/ipv4/conf/all/arp_ignore) = 1"},
		{"arp_announce", "sysctl -w net.ipv4.conf.all.arp_announce=0", "net/ipv4/conf/all/arp_announce is 0, not 2",
			"test $(cat /proc/sys/net/ipv4/conf/all/arp_announce) = 2"},
		{"rp_filter", "sysctl -w net.ipv4.conf.tunl0.rp_filter=1", "net/ipv4/conf/tunl0/rp_filter is 1, not 2",
			"test $(cat /proc/sys/net/ipv4/conf/tunl0/rp_filter) = 2"},
		{"ruleset_flushed", "nft flush ruleset", table, tableOK + " && " + table6OK},
		{"MSS_rules_flushed", "nft flush table inet lb_agent", table, tableOK + " && " + table6OK},
		{"MSS_table_deleted", "nft delete table inet lb_agent", table, tableOK + " && " + table6OK},
	}
}

func TestTheAgentRepairsItsTunnel(t *testing.T) {
	s := newTunnelStage(t)
	s.start(t, "enabled")
	s.upload(t, "192.0.2.100")
	s.upload(t, "2001:db8:1::100")
	for _, fault := range tunnelFaults() { // a link that is gone: see TestTheAgentMakesATunnelAgainThatIsGone
		t.Run(fault.name, func(t *testing.T) { s.repairs(t, fault.by, fault.fault, fault.proof) })
	}
	for _, want := range []string{"level=WARN", "another program changed the tunnel", "tunl0 is down"} {
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("no %q in the log:\n%s", want, s.log.String())
		}
	}
	metrics := labtest.Run(t, s.app, "curl", "-s", "http://127.0.0.1:9293/metrics")
	if !strings.Contains(metrics, `lb_agent_tunnel_up{vip="2001:db8:1::100"} 1`) ||
		strings.Contains(metrics, "lb_agent_tunnel_drift_total 0\n") {
		t.Errorf("metrics:\n%s", metrics)
	}
}

// repairs damages the tunnel and waits until the agent has noticed and repaired it, and packets arrive.
func (s *tunnelStage) repairs(t *testing.T, by, fault, proof string) {
	t.Helper()
	before := s.report(t).Tunnel.Drifts
	start := time.Now()
	labtest.Run(t, s.app, "sh", "-c", by)
	done := time.Now()
	var tunnel api.Tunnel
	labtest.Eventually(t, timeout, "the agent notices: "+by, func() (bool, string) {
		tunnel = *s.report(t).Tunnel
		return tunnel.Drifts > before && len(tunnel.Faults) == 0, fmt.Sprintf("%+v\n%s", tunnel, s.log.String())
	})
	labtest.Eventually(t, timeout, "it is repaired: "+proof, func() (bool, string) {
		_, err := s.app.Run(t.Context(), "sh", "-c", proof)
		return err == nil, s.log.String()
	})
	if !strings.Contains(tunnel.LastDrift.What, fault) {
		t.Errorf("the agent calls it %q, want %q", tunnel.LastDrift.What, fault)
	}
	took := tunnel.LastDrift.At.Sub(start)
	t.Logf("noticed %v after the start of the command, which took %v", took.Round(time.Millisecond),
		done.Sub(start).Round(time.Millisecond))
	if took > noticeLimit {
		t.Errorf("noticed after %v", took)
	}
	s.upload(t, "192.0.2.100")
	s.upload(t, "2001:db8:1::100")
	s.expectHealth(t, 100, "")
}

func TestTheAgentMakesATunnelAgainThatIsGone(t *testing.T) {
	labtest.NoFallbackTunnels(t) // so that the devices can be deleted
	s := newTunnelStage(t)
	s.start(t, "enabled")
	for _, device := range []string{"tunl0", "ip6tnl0"} {
		t.Run(device, func(t *testing.T) {
			s.repairs(t, "ip link del "+device, device+" does not exist", "ip link show "+device)
		})
	}
}

// TestAServiceIsDownWhileItsTunnelCannotBeRepaired takes tunl0's name away, which no repair can mend.
func TestAServiceIsDownWhileItsTunnelCannotBeRepaired(t *testing.T) {
	s := newTunnelStage(t)
	s.start(t, "enabled")
	// The agent must not set tunl0 up in between.
	if err := s.agent.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	labtest.Run(t, s.app, "sh", "-ec", "ip link set tunl0 down; ip link set tunl0 name away; ip link add tunl0 type bridge")
	if err := s.agent.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	s.expectHealth(t, 0, "interface tunl0 has type bridge, not ipip")
	out := labtest.Run(t, s.app, "curl", "-s", "http://127.0.0.1:9293/webapp/status")
	if !strings.Contains(out, "Dependency::Tunnel(interface tunl0 has type bridge") {
		t.Errorf("status page:\n%s", out)
	}
	labtest.Run(t, s.app, "sh", "-ec", "ip link del tunl0; ip link set away name tunl0")
	s.expectHealth(t, 100, "")
	s.upload(t, "192.0.2.100")
}

// TestTheAgentWatchesATunnelOfOthers has the tunnel set up by other means than lb, with other names.
func TestTheAgentWatchesATunnelOfOthers(t *testing.T) {
	s := newTunnelStage(t)
	labtest.Run(t, s.app, "sh", "-ec", `
		ip link add fromload type ipip local 10.9.0.2 remote 10.9.0.1
		ip link set fromload up; ip link set ip6tnl0 up
		sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2 net.ipv4.conf.fromload.rp_filter=2
		ip addr add 192.0.2.100/32 dev lo; ip addr add 192.0.2.101/32 dev lo; ip addr add 2001:db8:1::100/128 dev lo nodad`)
	before := labtest.Run(t, s.app, "sh", "-c", "ip addr; nft list ruleset")
	s.start(t, "watch_only")
	s.expectHealth(t, 100, "")
	for _, tt := range []struct {
		name, by, undo, reason string
		otherToo               bool
	}{
		{"link_down", "ip link set fromload down", "ip link set fromload up", "fromload is down", true},
		{"IPv6_link_down", "ip link set ip6tnl0 down", "ip link set ip6tnl0 up", "ip6tnl0 is down", false},
		{"address_deleted", "ip addr del 192.0.2.100/32 dev lo", "ip addr add 192.0.2.100/32 dev lo",
			"192.0.2.100 is on no interface", false},
		{"IPv6_address_deleted", "ip addr del 2001:db8:1::100/128 dev lo", "ip addr add 2001:db8:1::100/128 dev lo nodad",
			"2001:db8:1::100 is on no interface", false},
		{"rp_filter", "sysctl -qw net.ipv4.conf.fromload.rp_filter=1", "sysctl -qw net.ipv4.conf.fromload.rp_filter=2",
			"rp_filter of fromload is 1", true},
		{"arp_ignore", "sysctl -qw net.ipv4.conf.all.arp_ignore=0", "sysctl -qw net.ipv4.conf.all.arp_ignore=1",
			"arp_ignore of eth0 is 0", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			labtest.Run(t, s.app, "sh", "-c", tt.by)
			s.expectHealth(t, 0, tt.reason)
			if _, _, other := s.health(t); (other == 0) != tt.otherToo {
				t.Errorf("the other service has health %d", other)
			}
			labtest.Run(t, s.app, "sh", "-c", tt.undo)
			s.expectHealth(t, 100, "")
		})
	}
	if after := labtest.Run(t, s.app, "sh", "-c", "ip addr; nft list ruleset"); len(after) != len(before) {
		t.Errorf("the agent changed something: before\n%s\nafter\n%s", before, after)
	}
}

func TestAnEndlessFlushDoesNotMakeTheAgentBusy(t *testing.T) {
	s := newTunnelStage(t)
	s.start(t, "enabled")
	flusher, err := s.app.Start(lab.Command{Path: "sh", Args: []string{"-c", "while :; do nft flush ruleset; done"}})
	if err != nil {
		t.Fatal(err)
	}
	s.expectHealth(t, 0, "another program keeps changing the tunnel")
	// The agent is not polled while its processor time is measured.
	first, cpu, start := s.report(t).Tunnel.Drifts, s.cpuTime(t), time.Now()
	labtest.Eventually(t, timeout, "more flushes", func() (bool, string) { return time.Since(start) > 5*time.Second, "" })
	used, took := s.cpuTime(t)-cpu, time.Since(start)
	drifts := s.report(t).Tunnel.Drifts - first
	t.Logf("%d repairs in %v, %v of processor time", drifts, took.Round(time.Millisecond), used)
	if atMost := uint64(took/(500*time.Millisecond)) + 1; drifts > atMost {
		t.Errorf("%d repairs in %v", drifts, took)
	}
	if err := flusher.Kill(); err != nil {
		t.Fatal(err)
	}
	s.expectHealth(t, 100, "")
	s.upload(t, "192.0.2.100")
}

// cpuTime is the processor time that the agent has used.
func (s *tunnelStage) cpuTime(t *testing.T) time.Duration {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.agent.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	var ticks int
	for _, f := range fields[11:13] { // utime and stime
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
