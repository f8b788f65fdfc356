// Package vip adds virtual IPs to interfaces and removes them; whatever moves them must also announce them (gratuitous
// ARP), as Pacemaker's IPaddr2 does.
package vip

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/braintree/lb/netx"
)

// Add adds a virtual IP to an interface; it is no error if it is already there. A virtual IP is normally a host prefix
// (/32 or /128), which adds no route to its network. An IPv6 address is usable at once (no duplicate address detection,
// since a failing machine may still answer for it) and is never the source address of outgoing connections.
func Add(ctx context.Context, iface string, p netip.Prefix) error {
	link, err := findLink(ctx, iface)
	if err != nil {
		return fmt.Errorf("add virtual IP %s: %w", p, err)
	}
	addr := &netlink.Addr{IPNet: ipNet(p)}
	if p.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD
		addr.ValidLft, addr.PreferedLft = math.MaxUint32, 0 // valid forever, deprecated as a source
	}
	if err := netlink.AddrReplace(link, addr); err != nil {
		return fmt.Errorf("add virtual IP %s to %s: %w", p, iface, explainErrno(err))
	}
	return nil
}

// Remove removes a virtual IP from an interface; it is no error if the address or the whole interface is missing.
func Remove(ctx context.Context, iface string, p netip.Prefix) error {
	link, err := findLink(ctx, iface)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove virtual IP %s: %w", p, err)
	}
	err = netlink.AddrDel(link, &netlink.Addr{IPNet: ipNet(p)})
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("remove virtual IP %s from %s: %w", p, iface, explainErrno(err))
	}
	return nil
}

// Has reports whether the interface has the address with that prefix length.
func Has(ctx context.Context, iface string, p netip.Prefix) (bool, error) {
	link, err := findLink(ctx, iface)
	if err != nil {
		return false, fmt.Errorf("look up virtual IP %s: %w", p, err)
	}
	family := netlink.FAMILY_V4
	if p.Addr().Is6() {
		family = netlink.FAMILY_V6
	}
	addrs, err := netlink.AddrList(link, family)
	if err != nil {
		return false, fmt.Errorf("list the addresses of %s: %w", iface, err)
	}
	want := ipNet(p)
	for _, a := range addrs {
		if a.IP.Equal(want.IP) && a.Mask.String() == want.Mask.String() {
			return true, nil
		}
	}
	return false, nil
}

// findLink finds an interface by name.
func findLink(ctx context.Context, iface string) (netlink.Link, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	link, err := netlink.LinkByName(iface)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil, fmt.Errorf("this machine has no interface %s (`ip link` lists them): %w", iface, err)
	}
	if err != nil {
		return nil, fmt.Errorf("find interface %s: %w", iface, err)
	}
	return link, nil
}

// explainErrno adds the cause and the fix to errnos that need them.
func explainErrno(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: %w", netx.ErrNoPrivilege, err)
	}
	return err
}

// ipNet converts a prefix to the type that vishvananda/netlink takes.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
