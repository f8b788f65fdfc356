package tunnel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
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
		return createDevice()
	case DeviceUp:
		// Saved first: after a crash in between, Down may set tunl0 down although Up did not set it up.
		if err := s.saved.update(func(n *Saved) { n.DeviceUp = true }); err != nil {
			return err
		}
		return setDevice(netlink.LinkSetUp)
	case DeviceDown:
		return setDevice(netlink.LinkSetDown)
	case WriteClamp:
		return writeClamp(step.Clamp)
	case DeleteClamp:
		return deleteClamp()
	case AddVIP:
		return changeVIP(netlink.AddrReplace, step.VIP)
	case RemoveVIP:
		return changeVIP(netlink.AddrDel, step.VIP)
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

// createDevice creates tunl0. The request makes the kernel load ipip, which creates its own tunl0 in the first network
// namespace, and in others unless net.core.fb_tunnels_only_for_init_net forbids it. The device created here is the
// same: from anyone, to anyone.
func createDevice() error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = device
	err := netlink.LinkAdd(&netlink.Iptun{LinkAttrs: attrs, Proto: unix.IPPROTO_IPIP})
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return explainDeviceErrno(err)
}

// explainDeviceErrno adds the cause to the errno of creating tunl0.
func explainDeviceErrno(err error) error {
	if errors.Is(err, unix.EOPNOTSUPP) {
		return ErrNoIPIP
	}
	return explainErrno(err)
}

func setDevice(set func(netlink.Link) error) error {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return fmt.Errorf("find %s: %w", device, err)
	}
	return explainErrno(set(link))
}

// changeVIP adds or deletes a virtual IP with lb's label.
func changeVIP(change func(netlink.Link, *netlink.Addr) error, vip netip.Addr) error {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return fmt.Errorf("find %s: %w", device, err)
	}
	host := &net.IPNet{IP: vip.AsSlice(), Mask: net.CIDRMask(32, 32)}
	err = change(link, &netlink.Addr{IPNet: host, Label: label})
	if errors.Is(err, unix.EADDRNOTAVAIL) {
		return nil // already deleted by someone else
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
