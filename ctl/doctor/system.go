package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/program"
)

// lookAtClock asks the kernel whether something keeps its clock right.
func lookAtClock(context.Context, *Machine) ([]Finding, error) {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return nil, fmt.Errorf("read the state of the clock: %w", err)
	}
	return examineClock(t.Status), nil
}

func examineClock(status int32) []Finding {
	if status&unix.STA_UNSYNC != 0 {
		return []Finding{bad("nothing keeps the clock of this machine right",
			"forces and drains expire at the wrong time, and logs of several machines do not fit together", "`apt-get install chrony`")}
	}
	return []Finding{good("the clock is synchronized")}
}

func lookAtBalancerUnit(ctx context.Context, m *Machine) ([]Finding, error) {
	return m.lookAtUnit(ctx, client.Balancer())
}

func lookAtAgentUnit(ctx context.Context, m *Machine) ([]Finding, error) {
	return m.lookAtUnit(ctx, client.Agent())
}

// lookAtUnit asks systemd whether a daemon starts at boot, where systemd runs the machine.
func (m *Machine) lookAtUnit(ctx context.Context, d client.Daemon) ([]Finding, error) {
	if !m.exists("/run/systemd/system") {
		return nil, nil
	}
	r := program.Command{Argv: []string{"systemctl", "is-enabled", d.Unit}}.Run(ctx)
	state := strings.TrimSpace(r.Stdout)
	if state == "" {
		return nil, fmt.Errorf("systemctl is-enabled %s: %w: %s", d.Unit, r.Err, strings.TrimSpace(r.Stderr))
	}
	if d != client.Agent() {
		return examineUnit(d, state), nil // lb balance reports the rest itself
	}
	r = program.Command{Argv: []string{"systemctl", "show", "--property=StatusText", "--value", d.Unit}}.Run(ctx)
	return append(examineUnit(d, state), examineUnitStatus(d, strings.TrimSpace(r.Stdout))...), nil
}

// examineUnitStatus looks at the words with which a daemon last reported that it is ready.
func examineUnitStatus(d client.Daemon, status string) []Finding {
	_, missing, found := strings.Cut(status, "; ")
	if !found {
		missing, found = status, strings.Contains(status, "the last reload was refused")
	}
	if !found {
		return nil
	}
	return []Finding{bad("not all of the configuration of "+d.Name+" is in effect", missing,
		"`journalctl -u "+d.Unit+"`, then reload or restart it")}
}

func examineUnit(d client.Daemon, state string) []Finding {
	if slices.Contains([]string{"enabled", "static", "alias"}, state) {
		return []Finding{good("%s.service starts at boot", d.Unit)}
	}
	return []Finding{bad(d.Unit+".service is "+state, d.Name+" does not start at the next boot", "`systemctl enable --now "+d.Unit+"`")}
}

// lookAtSyncInterface looks at the interface of the sync daemons.
func lookAtSyncInterface(_ context.Context, m *Machine) ([]Finding, error) {
	name := m.config.Balancer.Sync.Interface
	if name == "" {
		return nil, nil
	}
	const why = "connections are not synchronized, and break when another balancer takes over"
	i, err := net.InterfaceByName(name)
	if err != nil {
		return []Finding{bad("balancer.sync.interface "+name+" does not exist", why, "name one of `ip link`")}, nil
	}
	addresses, err := i.Addrs()
	if err != nil {
		return nil, err
	}
	switch {
	case i.Flags&net.FlagUp == 0:
		return []Finding{bad("balancer.sync.interface "+name+" is down", why, "`ip link set "+name+" up`")}, nil
	case i.Flags&net.FlagMulticast == 0:
		return []Finding{bad("balancer.sync.interface "+name+" has no multicast", why, "`ip link set "+name+" multicast on`")}, nil
	case len(addresses) == 0:
		return []Finding{bad("balancer.sync.interface "+name+" has no address", why, "give it one")}, nil
	}
	return []Finding{good("balancer.sync.interface %s is up", name)}, nil
}

// lookAtRelays looks at the tunnel devices that packets from other data centres come out of.
func lookAtRelays(_ context.Context, m *Machine) ([]Finding, error) {
	var found []Finding
	for _, c := range m.config.Clusters {
		if !c.Relay.Enabled {
			continue
		}
		for _, v := range c.VIPs {
			for _, name := range c.Relay.InterfacesFor(v.Address) {
				f, err := m.examineRelay(name, v.Address.Is4())
				if err != nil {
					return nil, err
				}
				found = append(found, f.of(c.Name))
			}
		}
	}
	return found, nil
}

func (m *Machine) examineRelay(name string, v4 bool) (Finding, error) {
	const why = "packets from other data centres are lost"
	i, err := net.InterfaceByName(name)
	switch {
	case err != nil:
		return bad("the tunnel device "+name+" for other data centres does not exist", why, "`modprobe ipip`, see docs/sites.md"), nil
	case i.Flags&net.FlagUp == 0:
		return bad("the tunnel device "+name+" for other data centres is down", why, "`ip link set "+name+" up`"), nil
	case !v4:
		return good("the tunnel device %s for other data centres is up", name), nil
	}
	strict := false // the kernel uses the higher value of the two
	for _, of := range []string{"all", name} {
		filter, err := os.ReadFile(m.path("/proc/sys/net/ipv4/conf/" + of + "/rp_filter"))
		if err != nil {
			return Finding{}, err
		}
		switch strings.TrimSpace(string(filter)) {
		case "2":
			return good("the tunnel device %s for other data centres is up, rp_filter is 2", name), nil
		case "1":
			strict = true
		}
	}
	if strict {
		return bad("rp_filter drops what comes out of "+name, why, "`sysctl -w net.ipv4.conf."+name+".rp_filter=2`"), nil
	}
	return good("the tunnel device %s for other data centres is up, rp_filter is 0", name), nil
}

// lookAtResourceAgent looks for Pacemaker's resource agent, where Pacemaker is installed and the configuration has a setting for it.
func lookAtResourceAgent(_ context.Context, m *Machine) ([]Finding, error) {
	const agent = "/usr/lib/ocf/resource.d/braintree/bigbrother"
	prefers := func(c config.Cluster) bool { return len(c.Prefer) > 0 }
	if !m.exists("/usr/sbin/crm_mon") || !slices.ContainsFunc(m.config.Clusters, prefers) {
		return nil, nil
	}
	info, err := os.Stat(m.path(agent))
	if err != nil || info.Mode().Perm()&0o111 == 0 {
		return []Finding{bad("Pacemaker has no resource agent at "+agent, "it cannot run clusters on this machine",
			"`ln -s /usr/bin/lb "+agent+"`")}, nil
	}
	return []Finding{good("Pacemaker has the resource agent")}, nil
}

// lookAtCgroup looks for limits of lb agent's own cgroup, which its load checks would take for the machine's.
func lookAtCgroup(_ context.Context, m *Machine) ([]Finding, error) {
	loads := func(c config.Check) bool { return c.Type == "cpu_load" || c.Type == "available_memory" }
	if !slices.ContainsFunc(m.config.Services, func(s config.Service) bool { return slices.ContainsFunc(s.Metrics, loads) }) {
		return nil, nil
	}
	pid, err := peer(client.Agent(), m.path(m.config.Agent.Control))
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(m.path(fmt.Sprintf("/proc/%d/cgroup", pid)))
	if err != nil {
		return nil, err
	}
	group := ""
	for line := range strings.Lines(string(text)) {
		if path, v2 := strings.CutPrefix(strings.TrimSpace(line), "0::"); v2 {
			group = m.path(filepath.Join("/sys/fs/cgroup", path))
		}
	}
	if group == "" {
		return nil, errors.New("lb agent is in no cgroup of version 2")
	}
	return examineCgroup(group), nil
}

func examineCgroup(group string) []Finding {
	var found []Finding
	for file, key := range map[string]string{"cpu.max": "CPUQuota", "memory.max": "MemoryMax"} {
		limit, err := os.ReadFile(filepath.Join(group, file))
		if err == nil && !strings.HasPrefix(string(limit), "max") {
			found = append(found, bad(key+" limits lb agent itself", "its load checks take that limit for the machine's",
				"remove "+key+" from the unit: `systemctl edit lb-agent`"))
		}
	}
	slices.SortFunc(found, func(a, b Finding) int { return strings.Compare(a.What, b.What) })
	if len(found) == 0 {
		return []Finding{good("no cgroup limits lb agent itself")}
	}
	return found
}
