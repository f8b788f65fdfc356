package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Link connects a host to a switch.
type Link struct {
	Switch    *Switch
	Interface string         // name on the host, 1–15 characters
	Addresses []netip.Prefix // IPv4 and IPv6
}

// Host is a machine of the lab. It has its own network, hostname, processes, /run, /var/lib, /proc and /sys; the rest of the file system
// is the machine's.
type Host struct {
	name       string
	log        *slog.Logger
	namespaces *namespaces
	init       *initProcess
	ports      []switchPort // one for each link

	mu        sync.Mutex // protects the fields below
	addresses map[string][]netip.Prefix
	routes    []route
	closed    bool
	processes sync.WaitGroup
}

// switchPort is the switch's end of a host's cable.
type switchPort struct {
	sw   *Switch
	port string
}

// route is kept so that LinkUp can restore it.
type route struct {
	dst netip.Prefix
	via netip.Addr
}

// newHost builds a host, connects it and waits until its addresses are usable.
func newHost(name string, log *slog.Logger, links []Link, mac func(host, iface string) []byte) (*Host, error) {
	h := &Host{name: name, log: log, addresses: map[string][]netip.Prefix{}}
	s, err := newNamespaces("host "+name, hostNamespaces, func(s *namespaces) error {
		h.namespaces = s
		return h.setup()
	})
	if err != nil {
		if h.init != nil {
			err = errors.Join(err, h.init.stop(context.Background()))
		}
		return nil, err
	}
	for _, l := range links {
		if err = h.connect(l, mac(name, l.Interface)); err != nil {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(err, h.init.stop(context.Background()), s.close(context.Background()))
	}
	return h, nil
}

// setup configures mounts, hostname, init, sysctls and loopback of the new namespaces, on the host's first thread.
func (h *Host) setup() error {
	if err := mountHost(); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(h.name)); err != nil {
		return fmt.Errorf("set the hostname: %w", err)
	}
	var err error
	if h.init, err = startInit(); err != nil {
		return err
	}
	// Processes of this and later threads must be in the init's process namespace. In the /proc that the init mounted it is process 1.
	if err := h.namespaces.open(unix.CLONE_NEWPID, "/proc/1/ns/pid"); err != nil {
		return err
	}
	if err := h.namespaces.enter(); err != nil {
		return err
	}
	if err := setNetworkDefaults(); err != nil {
		return err
	}
	lo, err := h.namespaces.rtnl.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := h.namespaces.rtnl.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}

// setNetworkDefaults sets the sysctls that interfaces start with. A new namespace copies the machine's IPv4 settings; setting them makes
// hosts equal on every machine. IPv6 must not wait: no duplicate address detection, no router solicitation.
func setNetworkDefaults() error {
	settings := []struct{ key, value string }{
		{"ipv4/conf/%s/rp_filter", "0"},
		{"ipv4/conf/%s/arp_ignore", "0"},
		{"ipv4/conf/%s/arp_announce", "0"},
		{"ipv6/conf/%s/accept_dad", "0"},
		{"ipv6/conf/%s/accept_ra", "0"},
		{"ipv6/conf/%s/router_solicitations", "0"},
		{"ipv6/conf/%s/keep_addr_on_down", "1"},
	}
	for _, conf := range []string{"all", "default"} {
		for _, s := range settings {
			if err := writeSysctl("net/"+fmt.Sprintf(s.key, conf), s.value); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	return writeSysctl("net/ipv4/ip_forward", "0")
}

// connect creates a cable and configures the host's end.
func (h *Host) connect(l Link, mac []byte) error {
	if l.Switch == nil {
		return fmt.Errorf("connect %s: the link has no switch", l.Interface)
	}
	port, err := l.Switch.connect(h.name, h.namespaces, l.Interface, mac)
	if err != nil {
		return fmt.Errorf("connect %s to %s: %w", l.Interface, l.Switch.namespaces.name, err)
	}
	h.ports = append(h.ports, switchPort{l.Switch, port})
	h.addresses[l.Interface] = l.Addresses
	return h.LinkUp(l.Interface)
}

// Name returns the host's name.
func (h *Host) Name() string { return h.name }

// Do runs fn on a thread of the host: sockets, files and processes that fn opens or starts are the host's. Concurrent calls are allowed.
// Goroutines that fn starts are not on the host. Relative paths start at /, and /proc has no self entry. A process that fn starts must be
// waited for. Sockets stay on the host wherever they are used.
func (h *Host) Do(fn func() error) error { return h.namespaces.do(fn) }

// Route routes packets for dst via a gateway, replacing an earlier route to dst.
func (h *Host) Route(dst netip.Prefix, via netip.Addr) error {
	r := route{dst.Masked(), via}
	if err := h.addRoute(r); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.routes {
		if h.routes[i].dst == r.dst {
			h.routes[i] = r
			return nil
		}
	}
	h.routes = append(h.routes, r)
	return nil
}

// addRoute sets a route in the kernel.
func (h *Host) addRoute(r route) error {
	err := h.namespaces.rtnl.RouteReplace(&netlink.Route{Dst: ipNet(r.dst), Gw: r.via.AsSlice()})
	if err != nil {
		return fmt.Errorf("%s: route %s via %s: %w", h.name, r.dst, r.via, err)
	}
	return nil
}

// LinkDown sets an interface down, like `ip link set NAME down`.
func (h *Host) LinkDown(name string) error {
	link, err := h.namespaces.rtnl.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%s: find %s: %w", h.name, name, err)
	}
	if err := h.namespaces.rtnl.LinkSetDown(link); err != nil {
		return fmt.Errorf("%s: set %s down: %w", h.name, name, err)
	}
	return nil
}

// LinkUp sets an interface up and restores the addresses and routes that it lost.
func (h *Host) LinkUp(name string) error {
	link, err := h.namespaces.rtnl.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%s: find %s: %w", h.name, name, err)
	}
	if err := h.namespaces.rtnl.LinkSetUp(link); err != nil {
		return fmt.Errorf("%s: set %s up: %w", h.name, name, err)
	}
	for _, p := range h.addresses[name] {
		addr := &netlink.Addr{IPNet: ipNet(p), Flags: unix.IFA_F_NODAD}
		if p.Addr().Is4() {
			addr.Flags = 0
		}
		if err := h.namespaces.rtnl.AddrReplace(link, addr); err != nil {
			return fmt.Errorf("%s: add %s to %s: %w", h.name, p, name, err)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.routes {
		if err := h.addRoute(r); err != nil {
			return err
		}
	}
	return nil
}

// Unplug sets all of the host's switch ports down: it vanishes from the network and loses its carrier.
func (h *Host) Unplug() error { return h.setPorts(false) }

// Plug reverses Unplug.
func (h *Host) Plug() error { return h.setPorts(true) }

func (h *Host) setPorts(up bool) error {
	for _, p := range h.ports {
		if err := p.sw.setPort(p.port, up); err != nil {
			return fmt.Errorf("%s: %w", h.name, err)
		}
	}
	return nil
}

// disconnect removes the host's cables.
func (h *Host) disconnect() error {
	var errs []error
	for _, p := range h.ports {
		errs = append(errs, p.sw.disconnect(p.port))
	}
	return errors.Join(errs...)
}

// close kills the host's processes, waits for them, and releases its namespaces.
func (h *Host) close(ctx context.Context) error {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	if err := h.init.stop(ctx); err != nil {
		return fmt.Errorf("close host %s: %w", h.name, err)
	}
	h.processes.Wait() // the init is gone, so all are dead
	return h.namespaces.close(ctx)
}

// ipNet converts a prefix for vishvananda/netlink.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
