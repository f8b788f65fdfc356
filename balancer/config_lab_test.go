//go:build lab

package balancer

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	moby "github.com/moby/ipvs"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/braintree/lb/balancer/cluster"
	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/balancer/journal"
	"github.com/braintree/lb/balancer/kernel"
	"github.com/braintree/lb/balancer/reconcile"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

// syncDevice is the interface of the sync daemons in these tests.
const syncDevice = "sync0"

// drawing draws values; without mistakes only those that look valid.
type drawing struct {
	*rapid.T
	mistakes bool
}

// oneOf draws a value.
func (d drawing) oneOf(what string, valid []string, invalid ...string) string {
	if d.mistakes {
		valid = slices.Concat(valid, invalid)
	}
	return rapid.SampledFrom(valid).Draw(d.T, what)
}

func (d drawing) yes(what string) bool { return rapid.Bool().Draw(d.T, what) }

// list splits words.
func list(words string) []string { return strings.Fields(words) }

// address draws an address of a version, of every kind that the kernel tells apart. # stands for a number.
func (d drawing) address(v6 bool) string {
	form := d.oneOf("IPv4", list("10.0.0.# 192.0.2.# 127.0.0.# 169.254.0.# 240.0.0.# 10.255.255.# 0.1.2.#"),
		list("0.0.0.0 224.0.0.# 239.1.1.# 255.255.255.255")...)
	if v6 {
		form = d.oneOf("IPv6", list("fd00::# 2001:db8::# fec0::# 64:ff9b::# ::1 ::#:1 fe00::#"),
			list("fe80::# ff02::# :: ::ffff:10.0.0.#")...)
	}
	return strings.ReplaceAll(form, "#", strconv.Itoa(rapid.IntRange(1, 254).Draw(d.T, "number")))
}

// cluster draws a [clusters] table.
func (d drawing) cluster(name string) string {
	var b strings.Builder
	set := func(key, value string) { fmt.Fprintf(&b, "%s = %s\n", key, value) }
	maybe := func(key, valid string, invalid ...string) {
		if d.yes("has " + key) {
			set(key, d.oneOf(key, list(valid), invalid...))
		}
	}
	fmt.Fprintf(&b, "[clusters.%s]\n", name)
	mark := strconv.Itoa(rapid.IntRange(1, 1<<20).Draw(d.T, "mark"))
	set("fwmark", d.oneOf("fwmark", append(list("1 7 2147483648"), mark), "0", "4294967296"))
	// Debian's kernel has no twos: doctor and check-config look for the module.
	scheduler := d.oneOf("scheduler", list("rr wrr lc wlc sh mh mh dh lblc lblcr sed nq fo ovf"), "x")
	set("scheduler", strconv.Quote(scheduler))
	if d.mistakes || scheduler == "mh" || scheduler == "sh" {
		maybe("scheduler_flags", `["port"] ["fallback"] ["fallback","port"] []`, `["x"]`)
	}
	maybe("forwarding", `"ipip" "dr" "nat"`)
	if d.yes("persistent") {
		set("persistence", d.oneOf("persistence", list(`"1s" "5m" "744h"`), `"745h"`, `"500ms"`))
		maybe("persistence_netmask", "1 24 31 32", "0", "33")
		maybe("persistence_netmask_v6", "1 64 127 128", "0", "129")
	}
	maybe("max_weight", "0 1 65535", "65536")
	if d.yes("limits") {
		set("max_connections", d.oneOf("max_connections", list("1000 2147483647"), "2147483648"))
		maybe("min_connections", "0 1 1000", "2147483647")
	}
	protocol := d.oneOf("protocol", list("tcp udp sctp"))
	if d.mistakes || protocol == "udp" {
		maybe("one_packet", "true false")
	}
	maybe("all_down", `"none" "hold" "all_in" "downpage"`)
	if d.yes("downpage") {
		set("downpage", fmt.Sprintf("{ address = %q, address6 = %q }", d.address(false), d.address(true)))
	}
	maybe("relay", "true false")
	d.addresses(protocol, set)
	return b.String()
}

// addresses draws the virtual IPs and nodes of a cluster, which overlap only by chance.
func (d drawing) addresses(protocol string, set func(key, value string)) {
	v4, v6 := true, d.yes("IPv6")
	if v6 {
		v4 = d.yes("both versions")
	}
	var vips, nodes []string
	for _, is6 := range []bool{false, true} {
		if is6 && !v6 || !is6 && !v4 {
			continue
		}
		for range rapid.IntRange(1, 2).Draw(d.T, "vips") {
			vips = append(vips, fmt.Sprintf("{ address = %q, protocol = %q, ports = [%d], interface = %q }", d.address(is6), protocol,
				rapid.IntRange(1, math.MaxUint16).Draw(d.T, "port"),
				d.oneOf("interface", append(list("eth0 exactly15bytes. br-l@n*"), ""), "sixteen-letters.")))
		}
		for range rapid.IntRange(1, 3).Draw(d.T, "nodes") {
			nodes = append(nodes, fmt.Sprintf("{ address = %q, max_connections = %s }", d.address(is6),
				d.oneOf("limit", list("0 1000 2147483647"), "2147483648")))
		}
	}
	set("vips", "["+strings.Join(vips, ", ")+"]")
	set("nodes", "["+strings.Join(nodes, ", ")+"]")
}

// clear empties the kernel's tables.
func (r *kernelRig) clear(ctx context.Context) error {
	services, err := r.table.Dump(ctx)
	for _, s := range services {
		if err == nil {
			err = ipvs.ApplyOne(ctx, r.table, ipvs.DeleteService(s.Key))
		}
	}
	for _, role := range []ipvs.Role{ipvs.Master, ipvs.Backup} {
		_ = r.table.StopDaemon(ctx, role) // unless it does not run
	}
	if err == nil {
		err = r.marks.Remove(ctx)
	}
	return err
}

// rejected runs all clusters of a configuration, with all nodes at a health, and returns what the kernel rejects.
func (r *kernelRig) rejected(ctx context.Context, cfg *config.Config, health int) []error {
	m := cluster.New(cfg)
	log := slog.New(slog.DiscardHandler)
	rec := reconcile.New(m, kernel.New(r.table, r.marks), reconcile.NewReporter(log, journal.Open("", log)), newPreviewInputs(nil, r.dir))
	rec.Reconcile(ctx, reconcile.Startup) // adopts nothing
	now := time.Now()
	for _, c := range m.Clusters() {
		for _, n := range c.Nodes() {
			c.Observe(now, n, decide.Reading{At: now, Answered: true, Health: health})
		}
		m.Lifecycle().Run(now, c)
	}
	rec.Reconcile(ctx, reconcile.NewMarks)
	return rec.Failures()
}

// TestPropertyTheKernelAcceptsWhatTheConfigurationAccepts runs drawn configurations on the kernel.
func TestPropertyTheKernelAcceptsWhatTheConfigurationAccepts(t *testing.T) {
	r := newKernelRig(t)
	runTool(t, "ip link add "+syncDevice+" type dummy")
	runTool(t, "ip address add 192.168.77.1/24 dev "+syncDevice)
	runTool(t, "ip link set "+syncDevice+" up")
	if err := flag.Set("rapid.checks", "100"); err != nil {
		t.Fatal(err)
	}
	accepted := 0
	rapid.Check(t, func(rt *rapid.T) {
		d := drawing{rt, rapid.IntRange(0, 3).Draw(rt, "mistakes") == 0}
		var text strings.Builder
		if d.yes("sync") {
			fmt.Fprintf(&text, "[balancer.sync]\ninterface = %q\nid = %s\n", syncDevice, d.oneOf("id", list("0 1 255"), "256"))
		}
		for n := range rapid.IntRange(1, 3).Draw(rt, "clusters") {
			table := d.cluster(fmt.Sprintf("c%d", n))
			// A valid configuration of several clusters would be rare, so one that is not is left out by itself.
			if _, err := config.LoadText("lb.toml", table, nil); err == nil {
				text.WriteString(table)
			}
		}
		cfg, err := config.LoadText("lb.toml", text.String(), nil)
		if err != nil || len(cfg.Clusters) == 0 {
			return
		}
		accepted++
		for _, health := range []int{0, 1, 100} {
			if err := r.clear(t.Context()); err != nil {
				rt.Fatal(err)
			}
			for _, err := range r.rejected(t.Context(), cfg, health) {
				rt.Errorf("the kernel rejects, at health %d: %v\n%s", health, err, text.String())
			}
		}
	})
	t.Logf("%d configurations were accepted by both", accepted)
	if accepted < 20 {
		t.Errorf("only %d drawn configurations are valid", accepted)
	}
}

// refusals returns what the configuration says against a cluster; "" for nothing.
func refusals(t interface{ Helper() }, lines string) string {
	t.Helper()
	if _, err := config.LoadText("lb.toml", "[clusters.c]\nfwmark = 7\n"+lines, nil); err != nil {
		return err.Error()
	}
	return ""
}

// kernelService is a service by mark of the kernel's own interface, without lb's checks.
func kernelService(v6 bool) *moby.Service {
	s := &moby.Service{FWMark: 7, AddressFamily: unix.AF_INET, SchedName: "wlc", Netmask: math.MaxUint32}
	if v6 {
		s.AddressFamily, s.Netmask = unix.AF_INET6, 128
	}
	return s
}

// TestPropertyTheConfigurationRefusesTheNodesThatTheKernelRefuses asks both about addresses: neither refuses one that the other accepts.
func TestPropertyTheConfigurationRefusesTheNodesThatTheKernelRefuses(t *testing.T) {
	newKernelRig(t)
	library, err := moby.New("")
	if err != nil {
		t.Fatal(err)
	}
	defer library.Close()
	if err := flag.Set("rapid.checks", "200"); err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		d := drawing{rt, true}
		v6 := d.yes("IPv6")
		text, vip, family := d.address(v6), "198.51.100.1", uint16(unix.AF_INET)
		if v6 {
			vip, family = "2001:db8:ffff::1", unix.AF_INET6
		}
		address := netip.MustParseAddr(text)
		if address.Is4In6() {
			return // the configuration wants one notation for each address
		}
		s := kernelService(v6)
		if err := library.NewService(s); err != nil {
			rt.Fatal(err)
		}
		bytes := net.IP(address.AsSlice())
		fromKernel := library.NewDestination(s, &moby.Destination{
			Address: bytes, AddressFamily: family, ConnectionFlags: uint32(ipvs.Tunnel), Weight: 1})
		if err := library.Flush(); err != nil {
			rt.Fatal(err)
		}
		fromConfig := refusals(rt, fmt.Sprintf("vips = [ { address = %q, ports = [80] } ]\nnodes = [ { address = %q } ]\n", vip, text))
		if (fromKernel != nil) != (fromConfig != "") {
			rt.Errorf("node %s: the kernel says %v, the configuration %q", text, fromKernel, fromConfig)
		}
	})
}

// TestTheConfigurationRefusesTheSettingsThatTheKernelRefuses has the bounds of each setting that the kernel checks.
func TestTheConfigurationRefusesTheSettingsThatTheKernelRefuses(t *testing.T) {
	newKernelRig(t)
	library, err := moby.New("")
	if err != nil {
		t.Fatal(err)
	}
	defer library.Close()
	const v4, v6 = "vips = [ { address = \"192.0.2.1\", ports = [80] } ]\nnodes = [ { address = \"10.0.0.1\" } ]\n",
		"vips = [ { address = \"2001:db8::1\", ports = [80] } ]\nnodes = [ { address = \"fd00::1\" } ]\n"
	node := func() *moby.Destination {
		return &moby.Destination{Address: net.ParseIP("10.0.0.1").To4(), AddressFamily: unix.AF_INET, ConnectionFlags: uint32(ipvs.Tunnel)}
	}
	scheduled := func(name string) *moby.Service {
		return &moby.Service{FWMark: 7, AddressFamily: unix.AF_INET, SchedName: name}
	}
	masked := func(bits uint32) *moby.Service {
		s := kernelService(true)
		s.Flags, s.Timeout, s.Netmask = 1, 60, bits
		return s
	}
	for _, tt := range []struct {
		name, config string
		service      *moby.Service
		node         func(*moby.Destination)
	}{
		{"a scheduler of this kernel", "scheduler = \"mh\"\n" + v4, scheduled("mh"), nil},
		{"no scheduler of any", "scheduler = \"xy\"\n" + v4, scheduled("xy"), nil},
		{"netmask of 0 bits", "persistence = \"60s\"\npersistence_netmask_v6 = 0\n" + v6, masked(0), nil},
		{"netmask of 1 bit", "persistence = \"60s\"\npersistence_netmask_v6 = 1\n" + v6, masked(1), nil},
		{"netmask of 128 bits", "persistence = \"60s\"\npersistence_netmask_v6 = 128\n" + v6, masked(128), nil},
		{"netmask of 129 bits", "persistence = \"60s\"\npersistence_netmask_v6 = 129\n" + v6, masked(129), nil},
		{"lower limit above the upper", "max_connections = 5\nmin_connections = 6\n" + v4, kernelService(false),
			func(d *moby.Destination) { d.UpperThreshold, d.LowerThreshold = 5, 6 }},
		{"lower limit without an upper", "min_connections = 6\n" + v4, kernelService(false),
			func(d *moby.Destination) { d.LowerThreshold = 6 }},
		{"equal limits", "max_connections = 6\nmin_connections = 6\n" + v4, kernelService(false),
			func(d *moby.Destination) { d.UpperThreshold, d.LowerThreshold = 6, 6 }},
		{"largest limit", "max_connections = 2147483647\n" + v4, kernelService(false),
			func(d *moby.Destination) { d.UpperThreshold = math.MaxInt32 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fromKernel := library.NewService(tt.service)
			if fromKernel == nil && tt.node != nil {
				d := node()
				tt.node(d)
				fromKernel = library.NewDestination(tt.service, d)
			}
			if err := library.Flush(); err != nil {
				t.Fatal(err)
			}
			if fromConfig := refusals(t, tt.config); (fromKernel != nil) != (fromConfig != "") {
				t.Errorf("the kernel says %v, the configuration %q", fromKernel, fromConfig)
			}
		})
	}
}

// TestTheConfigurationRefusesTheInterfaceNamesThatTheKernelRefuses asks the kernel to make such an interface.
func TestTheConfigurationRefusesTheInterfaceNamesThatTheKernelRefuses(t *testing.T) {
	newKernelRig(t)
	for _, name := range []string{"eth0", "a", "exactly15bytes.", "sixteen-letters.", "a b", "a/b", "a:b", "a\tb", "a\vb", "a\fb", "a\rb",
		"a\u00a0b", "voilà", "é", "br*", "..", ".", "...", "%d", "-x"} {
		out, fromKernel := exec.Command("ip", "link", "add", "name", name, "type", "dummy").CombinedOutput()
		fromConfig := refusals(t, fmt.Sprintf("vips = [ { address = \"192.0.2.1\", ports = [80], interface = %q } ]\n"+
			"nodes = [ { address = \"10.0.0.1\" } ]\n", name))
		if (fromKernel != nil) != (fromConfig != "") {
			t.Errorf("%q: the kernel says %v %s, the configuration %q", name, fromKernel, out, fromConfig)
		}
	}
}
