package doctor

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx"
	"github.com/braintree/lb/netx/mark"
	"github.com/braintree/lb/netx/tunnel"
)

// role is what a machine does, as a set of bits.
type role uint8

const (
	tunnelled role = 1 << iota // a node of a cluster with ipip forwarding
	appNode                    // runs lb agent
	balancer                   // runs lb balance
)

// Machine is the machine that is examined.
type Machine struct {
	config  *config.Config
	version string       // of this program
	local   []netip.Addr // its addresses
	roles   role
	root    string // the root folder, "/" except in tests
}

// ThisMachine returns the machine that lb runs on; version is that of this program.
func ThisMachine(cfg *config.Config, version string) (*Machine, error) {
	local, err := tunnel.LocalAddrs()
	if err != nil {
		return nil, err
	}
	m := &Machine{config: cfg, version: version, local: local, root: "/"}
	if len(tunnel.DesiredFor(cfg.Clusters, local).VIPs) > 0 {
		m.roles |= tunnelled
	}
	if len(cfg.Services) > 0 && (m.isNode() || m.runs(client.Agent(), cfg.Agent.Control)) {
		m.roles |= appNode
	}
	if m.roles == 0 || m.runs(client.Balancer(), cfg.Balancer.Control) {
		m.roles |= balancer
	}
	return m, nil
}

// isNode reports whether the machine is a node of any cluster.
func (m *Machine) isNode() bool {
	return slices.ContainsFunc(m.config.Clusters, func(c config.Cluster) bool {
		return slices.ContainsFunc(c.Nodes, func(n config.Node) bool { return slices.Contains(m.local, n.Address) })
	})
}

// runs reports whether a daemon has its socket here, or is to start at boot.
func (m *Machine) runs(d client.Daemon, socket string) bool {
	return m.exists(socket) || m.exists("/etc/systemd/system/multi-user.target.wants/"+d.Unit+".service")
}

// path is where a file of the machine is.
func (m *Machine) path(name string) string { return filepath.Join(m.root, name) }

func (m *Machine) exists(name string) bool {
	_, err := os.Stat(m.path(name))
	return err == nil
}

// fixUnknown says what to do about a promise that could not be examined.
func fixUnknown(err error) string {
	switch {
	case errors.Is(err, netx.ErrNoPrivilege), errors.Is(err, fs.ErrPermission):
		return "run this command as root"
	case errors.Is(err, mark.ErrNoNftables):
		return "run on a kernel with nftables"
	}
	return "fix that, then run this command again"
}
