package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

func lookAtIPVSSettings(_ context.Context, m *Machine) ([]Finding, error) {
	return examineIPVS(ipvs.SysctlDir(m.path("/proc/sys")), ipvs.Features(m.config.KernelFeatures())), nil
}

// builtIn names the modules that are part of the kernel, as modules.builtin does.
const builtIn = "modules.builtin"

// lookAtSchedulers looks for the module of each scheduler in the configuration. A kernel may be built without one, as Debian's is without
// twos.
func lookAtSchedulers(_ context.Context, m *Machine) ([]Finding, error) {
	release, err := os.ReadFile(m.path("/proc/sys/kernel/osrelease"))
	if err != nil {
		return nil, err
	}
	modules := m.path("/lib/modules/" + strings.TrimSpace(string(release)))
	names, err := filepath.Glob(modules + "/kernel/net/netfilter/ipvs/ip_vs_*.ko*")
	if err != nil {
		return nil, err
	}
	inKernel, err := os.ReadFile(filepath.Join(modules, builtIn))
	if err != nil && len(names) == 0 {
		return nil, fmt.Errorf("the modules of the running kernel are not there (was it upgraded since the boot?): %w", err)
	}
	available := map[string]bool{}
	for _, file := range append(names, strings.Fields(string(inKernel))...) {
		name, _, _ := strings.Cut(filepath.Base(file), ".")
		available[strings.TrimPrefix(name, "ip_vs_")] = true
	}
	return examineSchedulers(m.config.Clusters, available), nil
}

// examineSchedulers compares the schedulers of the clusters with those that the kernel has.
func examineSchedulers(clusters []config.Cluster, available map[string]bool) []Finding {
	var found []Finding
	for _, c := range clusters {
		if available[c.Scheduler] {
			found = append(found, good("the kernel has the scheduler %s", c.Scheduler).of(c.Name))
			continue
		}
		found = append(found, bad("the kernel has no scheduler "+c.Scheduler, "it rejects the cluster",
			"use another scheduler, or a kernel with the module ip_vs_"+c.Scheduler).of(c.Name))
	}
	return found
}

// Unsupported lists what the configuration asks for and this machine's kernel lacks; nothing where lb does not balance.
func Unsupported(ctx context.Context, m *Machine) []string {
	var all []string
	if !m.runs(client.Balancer(), m.config.Balancer.Control) {
		return nil
	}
	found, _ := lookAtSchedulers(ctx, m) // a machine without modules is no balancer
	for _, f := range merge(found) {
		if !f.Good {
			all = append(all, fmt.Sprintf("%s (%s), and %s: %s", f.What, shorten(f.Of), f.Why, f.Fix))
		}
	}
	return all
}

// lookAtNodes looks for nodes that the kernel takes for broadcast addresses of a network of this machine.
func lookAtNodes(_ context.Context, m *Machine) ([]Finding, error) {
	nets, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var prefixes []netip.Prefix
	for _, n := range nets {
		if p, err := netip.ParsePrefix(n.String()); err == nil {
			prefixes = append(prefixes, p)
		}
	}
	return examineNodes(m.config.Clusters, prefixes), nil
}

func examineNodes(clusters []config.Cluster, local []netip.Prefix) []Finding {
	var found []Finding
	for _, c := range clusters {
		for _, n := range c.Nodes {
			for _, p := range local {
				if n.Address.Is4() && p.Bits() < 31 && p.Contains(n.Address) && (n.Address == lastOf(p) || n.Address == p.Masked().Addr()) {
					found = append(found, bad(fmt.Sprintf("node %s is a broadcast address of this machine's network %s", n.Address,
						p.Masked()), "the kernel rejects it as a node", "use the node's own address").of(c.Name))
				}
			}
		}
	}
	return found
}

// lastOf is the last address of an IPv4 network.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(b)
}

// examineIPVS compares the kernel's settings with those that the configuration needs.
func examineIPVS(settings ipvs.SysctlDir, use ipvs.Features) []Finding {
	var found []Finding
	for _, s := range ipvs.RecommendedSysctls(use) {
		name := s.Name
		value, err := settings.Get(name)
		switch {
		case errors.Is(err, fs.ErrNotExist) && s.IPVS():
			return []Finding{bad("the kernel module ip_vs is not loaded",
				"the kernel balances nothing, and its IPVS settings do not exist yet",
				"`modprobe ip_vs`, as lb-balance.service does")}
		case err != nil:
			found = append(found, unknown(name, err.Error(), fixUnknown(err)))
		case value == s.Value:
			found = append(found, good("%s is %s", name, value))
		default:
			found = append(found, bad(fmt.Sprintf("%s is %s, not %s", name, value, s.Value), s.Why,
				fmt.Sprintf("`sysctl -w %s=%s`, or balancer.set_sysctls = true", name, s.Value)))
		}
	}
	return found
}
