// Package mark keeps the nftables maps that give packets for a virtual IP the mark of their cluster.
package mark

import (
	"context"
	"net/netip"

	"github.com/braintree/lb/netx/ipvs"
)

// Rule marks the packets of one protocol to one address and port.
type Rule struct {
	Address   netip.Addr
	Interface string // that the packet comes in by; "" is any
	Protocol  string // tcp, udp or sctp
	Port      uint16
	Mark      ipvs.Mark
}

// Table is the set of marking rules in the kernel. An implementation may be used by several goroutines.
type Table interface {
	// List returns the rules as the kernel has them, sorted; none when the table is absent.
	List(ctx context.Context) ([]Rule, error)
	// Set makes the rules in the kernel exactly these, in one transaction; nothing where they already are.
	Set(ctx context.Context, rules []Rule) error
	// Remove takes the whole table out; no error when it is absent.
	Remove(ctx context.Context) error
}
