package doctor

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx"
	"github.com/braintree/lb/netx/mark"
	"github.com/braintree/lb/netx/tunnel"
)

// role is what a machine does, as a set of bits.
type role uint8

const (
	tunnelled role = 1 << iota // a node of a cluster with ipip forwarding
	balancer                   // runs lb balance
)

// Machine is the machine that is examined.
type Machine struct {
	config *config.Config
	local  []netip.Addr // its addresses
	roles  role
	proc   string // the folder /proc
}

// ThisMachine returns the machine that lb runs on. A node counts as a balancer only if lb balance has its socket there.
func ThisMachine(cfg *config.Config) (*Machine, error) {
	local, err := tunnel.LocalAddrs()
	if err != nil {
		return nil, err
	}
	m := &Machine{config: cfg, local: local, proc: "/proc"}
	if len(tunnel.DesiredFor(cfg.Clusters, local).VIPs) > 0 {
		m.roles |= tunnelled
	}
	if _, err := os.Stat(cfg.Balancer.Control); m.roles == 0 || err == nil {
		m.roles |= balancer
	}
	return m, nil
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
