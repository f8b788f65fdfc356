// Package vip puts virtual IPs on interfaces and takes them off. To tell the neighbours is the part of who moves them, as Pacemaker's IPaddr2 does.
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

// Add puts a virtual IP on an interface; no error when it is there. A virtual IP is a host prefix (/32, /128) as a rule, so that
// it brings no route to its network. An IPv6 one can be used at once (no duplicate address detection: the address that it takes
// over may still be answered for by a dying machine) and is never chosen as the source of connections that this machine opens.
func Add(ctx context.Context, iface string, p netip.Prefix) error {
	link, err := findLink(ctx, iface)
	if err != nil {
		return fmt.Errorf("add virtual IP %s: %w", p, err)
	}
	addr := &netlink.Addr{IPNet: ipNet(p)}
	if p.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD
		addr.ValidLft, addr.PreferedLft = math.MaxUint32, 0 // valid for ever, deprecated as a source
	}
	if err := netlink.AddrReplace(link, addr); err != nil {
		return fmt.Errorf("add virtual IP %s to %s: %w", p, iface, explainErrno(err))
	}
	return nil
}

// Remove takes a virtual IP off an interface; no error when the address, or the whole interface, is not there.
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

// Has reports whether the address stands on the interface, with that prefix length.
func Has(ctx context.Context, iface string, p netip.Prefix) (bool, error) {
	link, err := findLink(ctx, iface)
	if err != nil {
		return false, fmt.Errorf("look for virtual IP %s: %w", p, err)
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

// find looks an interface up by name.
func findLink(ctx context.Context, iface string) (netlink.Link, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	link, err := netlink.LinkByName(iface)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil, fmt.Errorf("this machine has no interface %s (`ip link` lists what it has): %w", iface, err)
	}
	if err != nil {
		return nil, fmt.Errorf("find interface %s: %w", iface, err)
	}
	return link, nil
}

// privilege turns the kernel's refusal into words.
func explainErrno(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: %w", netx.ErrNoPrivilege, err)
	}
	return err
}

// ipNet turns a prefix into what vishvananda/netlink speaks.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
