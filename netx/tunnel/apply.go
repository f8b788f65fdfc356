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

// do carries one step out.
func (s *Setup) do(step Step) error {
	switch step.Action {
	case SetSysctl:
		return s.setSysctl(step.Key, step.Value)
	case RestoreSysctl:
		if err := writeSysctl(step.Key, step.Value); err != nil {
			return err
		}
		return s.note.change(func(n *Saved) { delete(n.Sysctls, step.Key) })
	case CreateDevice:
		return createDevice()
	case DeviceUp:
		// Written down first: a crash between the two may only have Down do too much of what lb did.
		if err := s.note.change(func(n *Saved) { n.DeviceUp = true }); err != nil {
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
		return s.note.remove()
	}
	return errors.New("this program cannot do that")
}

// setSysctl sets a kernel setting, keeping in the note what it was before lb first changed it.
func (s *Setup) setSysctl(key, value string) error {
	was, err := os.ReadFile(sysctlDir + key)
	if err != nil {
		return fmt.Errorf("read a kernel setting: %w", err)
	}
	err = s.note.change(func(n *Saved) {
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
		return fmt.Errorf("write a kernel setting: %w", privilege(err))
	}
	return nil
}

// createDevice makes tunl0. The request has the kernel load ipip, which brings a tunl0 of its own to the first network namespace, and
// to others unless net.core.fb_tunnels_only_for_init_net says no; the one asked for here is then the same: from anyone, to anyone.
func createDevice() error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = device
	err := netlink.LinkAdd(&netlink.Iptun{LinkAttrs: attrs, Proto: unix.IPPROTO_IPIP})
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return whyNoDevice(err)
}

// whyNoDevice turns the kernel's refusal of tunl0 into words.
func whyNoDevice(err error) error {
	if errors.Is(err, unix.EOPNOTSUPP) {
		return ErrNoIPIP
	}
	return privilege(err)
}

func setDevice(set func(netlink.Link) error) error {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return fmt.Errorf("find %s: %w", device, err)
	}
	return privilege(set(link))
}

// changeVIP adds or deletes a virtual IP of lb's.
func changeVIP(change func(netlink.Link, *netlink.Addr) error, vip netip.Addr) error {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return fmt.Errorf("find %s: %w", device, err)
	}
	host := &net.IPNet{IP: vip.AsSlice(), Mask: net.CIDRMask(32, 32)}
	err = change(link, &netlink.Addr{IPNet: host, Label: label})
	if errors.Is(err, unix.EADDRNOTAVAIL) {
		return nil // somebody else was faster to delete it
	}
	return privilege(err)
}

// privilege turns the kernel's refusal into words.
func privilege(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w: %w", netx.ErrNoPrivilege, err)
	}
	return err
}
