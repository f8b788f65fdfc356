package config

import (
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Schedulers are those that Linux has, by their names in IPVS.
var Schedulers = []string{
	"dh", "fo", "lblc", "lblcr", "lc", "mh", "nq", "ovf", "rr", "sed", "sh", "twos", "wlc", "wrr",
}

// The most that rise, fall and min_healthy may be (more is a slip), and the kernel's largest weight that lb uses.
const (
	streakMost = 1000
	weightCap  = 65535
)

// syncIDMost is the highest number of a group of balancers that the kernel's messages have room for: one byte.
const syncIDMost = 255

// interfaceNameMax is the longest name of a network interface: IFNAMSIZ less its final zero byte.
const interfaceNameMax = 15

// vipPort is what a packet must match to get a cluster's mark, beside the interface.
type vipPort struct {
	address  netip.Addr
	protocol string
	port     uint16
}

// portUse is one VIP's claim on a vipPort.
type portUse struct {
	iface string // "" is any
	place string
}

// cluster reads [clusters.NAME].
func (l *loader) cluster(d *decoder, name string) Cluster {
	named(d, name)
	c := Cluster{
		Name:         name,
		Mark:         l.mark(d),
		Scheduler:    d.str("scheduler", defaultScheduler),
		Forwarding:   Forwarding(d.str("forwarding", string(defaultForwarding))),
		Rise:         int(d.integer("rise", defaultRise, 1, streakMost)),
		Fall:         int(d.integer("fall", defaultFall, 1, streakMost)),
		RampUpTime:   d.duration("ramp_up_time", defaultRampUpTime),
		MaxWeight:    int(d.integer("max_weight", defaultMaxWeight, 0, weightCap)),
		DrainTimeout: d.duration("drain_timeout", defaultDrainTimeout),
		MinHealthy:   int(d.integer("min_healthy", defaultMinHealthy, 0, streakMost)),
		Autostart:    d.boolean("autostart", defaultAutostart),
		Prefer:       l.prefer(d),
		Watch:        Watching(d.str("watch", string(defaultWatch))),
		Weights:      l.weights(d),
	}
	c.CheckInterval, c.CheckTimeout = pace(d, "check_interval", "check_timeout", defaultCheckInterval, defaultCheckTimeoutFor)
	if !slices.Contains(Schedulers, c.Scheduler) {
		fix := "write one of " + strings.Join(Schedulers, ", ")
		if near := nearest(c.Scheduler, Schedulers); near != "" {
			fix = "did you mean " + near + "?"
		}
		d.mistake("scheduler", "is not a scheduler of Linux", fix)
	}
	if !slices.Contains([]Forwarding{IPIP, DR, NAT}, c.Forwarding) {
		d.mistake("forwarding", "is not a forwarding method", "write ipip, dr or nat")
	}
	if !slices.Contains([]Watching{WatchAuto, WatchPoll}, c.Watch) {
		d.mistake("watch", "is not a way of watching", "write auto or poll")
	}
	c.Balancing = l.balancing(d, c.Scheduler)
	vips := d.tables("vips")
	for _, v := range vips {
		c.VIPs = append(c.VIPs, l.vip(v))
	}
	if len(c.VIPs) == 0 && !d.faulty("vips") {
		required(d, "vips", `name the virtual IPs: vips = [ { address = "203.0.113.7", ports = [443] } ]`)
	}
	nodes := d.tables("nodes")
	c.Nodes = l.nodes(nodes, c)
	if len(c.Nodes) == 0 && !d.faulty("nodes") {
		required(d, "nodes", `a cluster without nodes answers nobody: nodes = [ { address = "10.0.0.1" } ]`)
	}
	l.dataCentres(d, &c)
	l.lastResort(d, c)
	d.done()
	families(c, vips, nodes)
	onePacket(c, d)
	limits(c, nodes)
	return c
}

// nodes reads the entries of a cluster's nodes.
func (l *loader) nodes(nodes []*decoder, c Cluster) []Node {
	var all []Node
	for _, n := range nodes {
		node := readNode(n, c.Name, c.MaxConnections)
		if node.Priority != 0 && c.Mode != ActivePassive {
			l.warn(n, "priority", "has no effect without mode = \"active_passive\"", "add that to the cluster, or remove the priority")
		}
		for j, other := range all {
			if node.Address.IsValid() && node.Address == other.Address {
				n.mistake("address", "is also that of "+nodes[j].place()+
					", and the kernel tells nodes of a cluster apart by their address alone", "remove one of them")
			}
		}
		all = append(all, node)
	}
	return all
}

// mark reads the fwmark, which no other cluster may have.
func (l *loader) mark(d *decoder) uint32 {
	const key = "fwmark"
	if !d.has(key) {
		d.asked[key] = true
		d.missing(key, "give the cluster a mark of its own, 1 to 4294967295: fwmark = 7")
		return 0
	}
	v, ok := get[int64](d, key, "a whole number", "write one from 1 to 4294967295, without quotes")
	if !ok {
		return 0
	}
	if v < 1 || v > math.MaxUint32 {
		d.mistake(key, "must be 1 to 4294967295", "give the cluster its own mark")
		return 0
	}
	mark := uint32(v)
	if place, taken := l.marks[mark]; taken {
		d.mistake(key, "is the mark of "+place+", too", "give each cluster its own mark")
		return mark
	}
	l.marks[mark] = fmt.Sprintf("%s (%s)", d.path, d.place())
	return mark
}

// vip reads one entry of vips.
func (l *loader) vip(d *decoder) VIP {
	v := VIP{
		Address:   address(d, "203.0.113.7"),
		Interface: interfaceName(d, "interface", defaultInterface),
		Protocol:  d.str("protocol", defaultProtocol),
	}
	if !slices.Contains([]string{"tcp", "udp", "sctp"}, v.Protocol) {
		d.mistake("protocol", "is not a protocol that is balanced", "write tcp, udp or sctp")
	}
	list, ok := get[[]any](d, "ports", "a list of ports", "write it as ports = [443]")
	if len(list) == 0 && (ok || !d.has("ports")) {
		required(d, "ports", "name the ports that are balanced: ports = [443]")
	}
	for i, e := range list {
		path := joinIndex(joinKey(d.path, "ports"), i)
		n, ok := e.(int64)
		if !ok || n < 1 || n > math.MaxUint16 {
			d.mistakeAt(path, e, "must be 1 to 65535", "write a port without quotes, such as 443")
			continue
		}
		v.Ports = append(v.Ports, uint16(n))
		l.claim(d, path, vipPort{v.Address, v.Protocol, uint16(n)}, v.Interface)
	}
	d.done()
	return v
}

// isInterface tells whether the kernel would take s as the name of an interface.
func isInterface(s string) bool {
	return s != "" && len(s) <= interfaceNameMax && !strings.ContainsAny(s, "/: \t\n\x00") && s != "." && s != ".."
}

// claim reports a port that an earlier VIP has: a packet can have one mark only.
func (l *loader) claim(d *decoder, path string, p vipPort, iface string) {
	if !p.address.IsValid() {
		return
	}
	for _, use := range l.ports[p] {
		if use.iface == iface || use.iface == "" || iface == "" {
			d.mistakeAt(path, int64(p.port), fmt.Sprintf("%s %s is taken by %s", p.protocol,
				netip.AddrPortFrom(p.address, p.port), use.place), "a packet can belong to one cluster only: remove one")
			return
		}
	}
	l.ports[p] = append(l.ports[p], portUse{iface, fmt.Sprintf("%s (%s)", d.path, d.place())})
}

// interfaceName reads the name of a network interface; what stands for none is the default.
func interfaceName(d *decoder, key, def string) string {
	v := d.str(key, def)
	if !isInterface(v) && v != def {
		d.mistake(key, "cannot be the name of an interface", "write it as ip link shows it, such as eth0")
	}
	return v
}

// readNode reads one entry of nodes. A limit of its own goes before the cluster's.
func readNode(d *decoder, cluster string, limit uint32) Node {
	n := Node{
		Address: address(d, "10.0.0.1"),
		Port:    uint16(d.integer("port", defaultNodePort, 1, math.MaxUint16)),
		Path:    d.str("path", defaultNodePath(cluster)),

		Priority:       int(d.integer("priority", defaultPriority, 0, math.MaxUint16)),
		MaxWeight:      int(d.integer("max_weight", defaultMaxWeight, 0, weightCap)),
		MaxConnections: connections(d, "max_connections", limit),
	}
	_, err := url.ParseRequestURI(n.Path)
	if d.has("path") && (err != nil || n.Path[0] != '/' || strings.ContainsAny(n.Path, " #")) {
		d.mistake("path", "is not the path of a URL", "write it as "+strconv.Quote(defaultNodePath(cluster)))
	}
	d.done()
	return n
}

// address reads a unicast IP address, without a zone or prefix length.
func address(d *decoder, example string) netip.Addr {
	const key = "address"
	if !d.has(key) {
		d.asked[key] = true
		d.missing(key, addressFix+example)
		return netip.Addr{}
	}
	return unicast(d, key, example)
}

// addressFix is how to write an address.
const addressFix = "write an IPv4 or IPv6 address such as "

// unicast reads the address at key.
func unicast(d *decoder, key, example string) netip.Addr {
	fix := addressFix + example
	s := d.str(key, "")
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil && strings.Contains(s, "/"):
		d.mistake(key, "is not an IP address", "leave out the prefix length behind the /")
	case err != nil:
		d.mistake(key, "is not an IP address", fix)
	case a.Zone() != "":
		d.mistake(key, "has a zone", "leave out the % and what follows")
	case a.Is4In6():
		d.mistake(key, "is an IPv4 address in IPv6 clothes", "write it as "+a.Unmap().String())
	case a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		d.mistake(key, "is not the address of a single machine", fix)
	default:
		return a
	}
	return netip.Addr{}
}

// families reports virtual IPs and nodes that have nobody of their own IP version on the other side, and nodes that
// are virtual IPs. One mark serves IPv4 and IPv6 as two services; a node can only be in that of its version: dr and
// nat cannot cross over at all, and the tunnels that lb sets up are IPv4 in IPv4.
func families(c Cluster, vips, nodes []*decoder) {
	if len(vips) != len(c.VIPs) || len(nodes) != len(c.Nodes) {
		return
	}
	apart := false // one side is told, not both
	for i, n := range c.Nodes {
		same := func(v VIP) bool { return !v.Address.IsValid() || v.Address.Is4() == n.Address.Is4() }
		switch {
		case !n.Address.IsValid() || len(c.VIPs) == 0:
		case slices.ContainsFunc(c.VIPs, func(v VIP) bool { return v.Address == n.Address }):
			nodes[i].mistake("address", "is a virtual IP of the same cluster", "write the node's own address")
		case !slices.ContainsFunc(c.VIPs, same):
			apart = true
			nodes[i].mistake("address", fmt.Sprintf("is %s, but no virtual IP of the cluster is, and %s cannot cross over",
				version(n.Address), c.Forwarding), "give the node's "+version(c.VIPs[0].Address)+" address")
		}
	}
	for i, v := range c.VIPs {
		same := func(n Node) bool { return !n.Address.IsValid() || n.Address.Is4() == v.Address.Is4() }
		if !apart && v.Address.IsValid() && len(c.Nodes) > 0 && !slices.ContainsFunc(c.Nodes, same) {
			vips[i].mistake("address", fmt.Sprintf("is %s, but no node of the cluster is, and %s cannot cross over",
				version(v.Address), c.Forwarding), "add nodes with "+version(v.Address)+" addresses")
		}
	}
}

func version(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}
