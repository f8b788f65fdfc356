package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// bridgeName is the switch's only own interface, in a namespace where nothing else is.
const bridgeName = "switch"

// Switch joins the hosts that are plugged into it, as an Ethernet switch does.
type Switch struct {
	namespaces *namespaces
	bridge     int // interface index

	mu        sync.Mutex // protects ports
	portCount int        // how many there were; numbers the ports whose host's name is too long
}

// newSwitch builds a bridge in a namespace of its own.
func newSwitch(name string) (*Switch, error) {
	sw := &Switch{}
	s, err := newNamespaces("switch "+name, switchNamespaces, func(s *namespaces) error { return sw.setup(s) })
	if err != nil {
		return nil, err
	}
	sw.namespaces = s
	return sw, nil
}

// setup makes the bridge, on a thread of the space.
func (sw *Switch) setup(s *namespaces) error {
	// A switch has no addresses of its own: without IPv6 it sends nothing unasked.
	for _, conf := range []string{"all", "default"} {
		err := writeSysctl("net/ipv6/conf/"+conf+"/disable_ipv6", "1")
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	// Snooping without a querier on the network would swallow neighbour discovery.
	snooping := false
	attrs := netlink.NewLinkAttrs()
	attrs.Name = bridgeName
	br := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}
	if err := s.rtnl.LinkAdd(br); err != nil {
		return fmt.Errorf("add bridge: %w", err)
	}
	if err := s.rtnl.LinkSetUp(br); err != nil {
		return fmt.Errorf("set bridge up: %w", err)
	}
	sw.bridge = br.Index
	return nil
}

// plug lays a cable from a new port to an interface in a host's network namespace, and returns the port's name.
func (sw *Switch) connect(host string, to *namespaces, iface string, mac []byte) (string, error) {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	if sw.namespaces.ctx.Err() != nil {
		return "", ErrClosed
	}
	sw.portCount++
	port := portName(host, iface, sw.portCount)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = port
	attrs.MTU = 1500
	attrs.MasterIndex = sw.bridge
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: iface, PeerHardwareAddr: mac, PeerNamespace: to.netns()}
	if err := sw.namespaces.rtnl.LinkAdd(veth); err != nil {
		return "", fmt.Errorf("add cable %s: %w", port, err)
	}
	if err := sw.namespaces.rtnl.LinkSetUp(veth); err != nil {
		return "", fmt.Errorf("set port %s up: %w", port, err)
	}
	return port, nil
}

// portName names the switch's end of a cable: app01.eth0, or port7 where that is too long for an interface's name.
func portName(host, iface string, number int) string {
	if name := host + "." + iface; len(name) < unix.IFNAMSIZ {
		return name
	}
	return fmt.Sprintf("port%d", number)
}

// setPort turns a port on or off; the host's end gains or loses its carrier.
func (sw *Switch) setPort(port string, up bool) error {
	link, err := sw.namespaces.rtnl.LinkByName(port)
	if err != nil {
		return fmt.Errorf("find port %s of %s: %w", port, sw.namespaces.name, err)
	}
	set := sw.namespaces.rtnl.LinkSetDown
	if up {
		set = sw.namespaces.rtnl.LinkSetUp
	}
	if err := set(link); err != nil {
		return fmt.Errorf("switch port %s of %s: %w", port, sw.namespaces.name, err)
	}
	return nil
}

// unplug takes a cable away, both ends of it.
func (sw *Switch) disconnect(port string) error {
	link, err := sw.namespaces.rtnl.LinkByName(port)
	if err != nil {
		return fmt.Errorf("find port %s of %s: %w", port, sw.namespaces.name, err)
	}
	if err := sw.namespaces.rtnl.LinkDel(link); err != nil {
		return fmt.Errorf("unplug port %s of %s: %w", port, sw.namespaces.name, err)
	}
	return nil
}

// close lets the switch go; its ports and bridge go with the namespace.
func (sw *Switch) close(ctx context.Context) error { return sw.namespaces.close(ctx) }
