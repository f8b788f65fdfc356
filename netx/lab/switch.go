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

// bridgeName is the bridge of every switch, each in a namespace of its own.
const bridgeName = "switch"

// Switch connects hosts like an Ethernet switch.
type Switch struct {
	namespaces *namespaces
	bridge     int // interface index

	mu        sync.Mutex // protects portCount
	portCount int        // ports created so far; numbers those whose host name is too long
}

// newSwitch builds a bridge in its own namespace.
func newSwitch(name string) (*Switch, error) {
	sw := &Switch{}
	s, err := newNamespaces("switch "+name, switchNamespaces, func(s *namespaces) error { return sw.setup(s) })
	if err != nil {
		return nil, err
	}
	sw.namespaces = s
	return sw, nil
}

// setup creates the bridge. It runs on a thread of the namespaces.
func (sw *Switch) setup(s *namespaces) error {
	// A switch has no addresses; without IPv6 it sends no packets of its own.
	for _, conf := range []string{"all", "default"} {
		err := writeSysctl("net/ipv6/conf/"+conf+"/disable_ipv6", "1")
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	// With snooping and no querier on the network, neighbour discovery would be dropped.
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

// connect creates a cable from a new port to an interface in a host's network namespace, and returns the port's name.
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

// portName returns the name of the switch's end of a cable: app01.eth0, or port7 if that is too long for an interface name.
func portName(host, iface string, number int) string {
	if name := host + "." + iface; len(name) < unix.IFNAMSIZ {
		return name
	}
	return fmt.Sprintf("port%d", number)
}

// setPort sets a port up or down. The host's end gains or loses its carrier.
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
		return fmt.Errorf("set port %s of %s: %w", port, sw.namespaces.name, err)
	}
	return nil
}

// disconnect deletes a cable with both ends.
func (sw *Switch) disconnect(port string) error {
	link, err := sw.namespaces.rtnl.LinkByName(port)
	if err != nil {
		return fmt.Errorf("find port %s of %s: %w", port, sw.namespaces.name, err)
	}
	if err := sw.namespaces.rtnl.LinkDel(link); err != nil {
		return fmt.Errorf("delete port %s of %s: %w", port, sw.namespaces.name, err)
	}
	return nil
}

// close releases the switch. Its ports and bridge go with the namespace.
func (sw *Switch) close(ctx context.Context) error { return sw.namespaces.close(ctx) }
