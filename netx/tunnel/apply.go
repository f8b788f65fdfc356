package tunnel

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/braintree/lb/netx"
)

// applyStep makes one change.
func (s *Setup) applyStep(step Step) error {
	switch step.Action {
	case SetSysctl:
		return s.setSysctl(step.Key, step.Value)
	case RestoreSysctl:
		if err := writeSysctl(step.Key, step.Value); err != nil {
			return err
		}
		return s.saved.update(func(n *Saved) { delete(n.Sysctls, step.Key) })
	case CreateDevice:
		return createDevice(step)
	case DeviceUp:
		f, _ := step.family()
		// Saved first: after a crash in between, Down may set the device down although Up did not set it up.
		if err := s.saved.update(func(n *Saved) { *n.deviceUp(f) = true }); err != nil {
			return err
		}
		return setDevice(step.Device, netlink.LinkSetUp)
	case DeviceDown:
		return setDevice(step.Device, netlink.LinkSetDown)
	case WriteClamp:
		return writeClamp(step.Clamp)
	case DeleteClamp:
		return deleteClamp()
	case AddVIP:
		return s.addVIP(step.VIP)
	case RemoveVIP:
		return s.removeVIP(step.VIP)
	case DeleteSaved:
		return s.saved.remove()
	}
	return errors.New("unknown action")
}

// setSysctl sets a sysctl and saves the value that it had before lb first changed it.
func (s *Setup) setSysctl(key, value string) error {
	was, err := os.ReadFile(sysctlDir + key)
	if err != nil {
		return fmt.Errorf("read a sysctl: %w", err)
	}
	err = s.saved.update(func(n *Saved) {
		if _, known := n.Sysctls[key]; !known {
			n.Sysctls[key] = SavedSysctl{Before: strings.TrimSpace(string(was)), Set: value}
		}
	})
	if err != nil {
		return err
	}
	return writeSysctl(key, value)
}

func writeSysctl(key, value string) error {
	if err := os.WriteFile(sysctlDir+key, []byte(value), 0); err != nil {
		return fmt.Errorf("write a sysctl: %w", explainErrno(err))
	}
	return nil
}

// createDevice creates tunl0 or ip6tnl0. The request makes the kernel load the module, which creates its own in the first
// network namespace, and in others unless net.core.fb_tunnels_only_for_init_net forbids it. The device created here is the
// same: from anyone, to anyone.
func createDevice(step Step) error {
	f, _ := step.family()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = f.device
	var link netlink.Link = &netlink.Iptun{LinkAttrs: attrs, Proto: unix.IPPROTO_IPIP}
	if f.bits == ipv6.bits {
		link = &netlink.Ip6tnl{LinkAttrs: attrs, Proto: unix.IPPROTO_IPV6}
	}
	err := netlink.LinkAdd(link)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return explainDeviceErrno(f, err)
}

// explainDeviceErrno adds the cause to the errno of creating a device.
func explainDeviceErrno(f family, err error) error {
	if errors.Is(err, unix.EOPNOTSUPP) {
		return f.noKernel
	}
	return explainErrno(err)
}

func setDevice(name string, set func(netlink.Link) error) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	return explainErrno(set(link))
}

// addVIP adds a virtual IP to the device of its family, and makes it recognisable as lb's.
func (s *Setup) addVIP(vip netip.Addr) error {
	if vip.Is4() {
		return changeVIP(netlink.AddrReplace, vip, netlink.Addr{Label: label})
	}
	// Saved first: after a crash in between, Down may remove an address that someone else added meanwhile.
	err := s.saved.update(func(n *Saved) {
		if !slices.Contains(n.VIPs6, vip) {
			n.VIPs6 = append(n.VIPs6, vip)
		}
	})
	if err != nil {
		return err
	}
	// Deprecated (preferred for 0 s): the machine's own connections should not start from a virtual IP.
	return changeVIP(netlink.AddrReplace, vip, netlink.Addr{Flags: unix.IFA_F_NODAD, ValidLft: math.MaxUint32})
}

func (s *Setup) removeVIP(vip netip.Addr) error {
	if vip.Is4() {
		return changeVIP(netlink.AddrDel, vip, netlink.Addr{Label: label})
	}
	if err := changeVIP(netlink.AddrDel, vip, netlink.Addr{}); err != nil {
		return err
	}
	return s.saved.update(func(n *Saved) {
		n.VIPs6 = slices.DeleteFunc(n.VIPs6, func(a netip.Addr) bool { return a == vip })
	})
}

// changeVIP adds or deletes a virtual IP.
func changeVIP(change func(netlink.Link, *netlink.Addr) error, vip netip.Addr, addr netlink.Addr) error {
	name := familyOf(vip).device
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	addr.IPNet = &net.IPNet{IP: vip.AsSlice(), Mask: net.CIDRMask(vip.BitLen(), vip.BitLen())}
	err = change(link, &addr)
	switch {
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return nil // already deleted by someone else
	case vip.Is6() && errors.Is(err, unix.EACCES):
		return fmt.Errorf("IPv6 is disabled on %s: `sysctl -w net.ipv6.conf.%s.disable_ipv6=0`: %w", name, name, err)
	}
	return explainErrno(err)
}

// explainErrno adds the cause to errnos that need it.
func explainErrno(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w: %w", netx.ErrNoPrivilege, err)
	}
	return err
}
