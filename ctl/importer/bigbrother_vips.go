package importer

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// VIP is a virtual IP with the ports that belong to a cluster.
type VIP struct {
	Cluster   string
	Address   netip.Addr
	Interface string // on which packets must arrive; "" is any
	Protocol  string // tcp, udp or sctp
	Ports     []uint16
}

// ParseVIP parses NAME=ADDRESS:PORT[,PORT…][/PROTOCOL][@INTERFACE].
func ParseVIP(s string) (VIP, error) {
	bad := func(what string) (VIP, error) {
		return VIP{}, fmt.Errorf("%q %s: write NAME=ADDRESS:PORT, such as webapp=203.0.113.7:443 or webapp=[2001:db8::7]:80,443/tcp@eth0",
			s, what)
	}
	name, rest, ok := strings.Cut(s, "=")
	if !ok || name == "" {
		return bad("has no cluster name")
	}
	v := VIP{Cluster: name, Protocol: "tcp"}
	rest, v.Interface, _ = strings.Cut(rest, "@")
	if rest, protocol, given := strings.Cut(rest, "/"); given {
		return v.parseAddressAndPorts(rest, protocol, bad)
	}
	return v.parseAddressAndPorts(rest, "tcp", bad)
}

func (v VIP) parseAddressAndPorts(s, protocol string, bad func(string) (VIP, error)) (VIP, error) {
	v.Protocol = protocol
	i := strings.LastIndex(s, ":")
	if i < 0 {
		return bad("has no port")
	}
	var err error
	if v.Address, err = netip.ParseAddr(strings.Trim(s[:i], "[]")); err != nil || v.Address.Is6() && !strings.HasPrefix(s, "[") {
		return bad("has no valid IP address (IPv6 needs brackets)")
	}
	for _, p := range strings.Split(s[i+1:], ",") {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return bad("has a port outside 1 to 65535")
		}
		v.Ports = append(v.Ports, uint16(n))
	}
	return v, nil
}

// toml returns the VIP as a TOML inline table.
func (v VIP) toml() string {
	var t inlineTable
	t.set("address", quoted(v.Address.String()))
	if v.Interface != "" {
		t.set("interface", quoted(v.Interface))
	}
	if v.Protocol != "tcp" {
		t.set("protocol", quoted(v.Protocol))
	}
	ports := make([]string, len(v.Ports))
	for i, p := range v.Ports {
		ports[i] = strconv.Itoa(int(p))
	}
	t.set("ports", "["+strings.Join(ports, ", ")+"]")
	return t.String()
}

// vips sets the virtual IPs from the command line and from the firewall rules with the cluster's mark. Without any it writes an
// example as a comment.
func (k *clusterImport) vips(name string, mark value) {
	var found []VIP
	at := k.at
	for _, v := range k.bigBrother.vips[name] {
		found = mergeVIP(found, v)
	}
	n, ok := mark.number()
	for i := range k.rules {
		if r := &k.rules[i]; ok && int64(r.mark) == n {
			r.used = true
			found = mergeVIP(found, r.vip)
			at = r.at
		}
	}
	if len(found) == 0 {
		nodes, _ := k.settings.get("nodes")
		v := VIP{Address: exampleAddress(nodes, len(k.tables)-1), Protocol: "tcp", Ports: []uint16{443}}
		l := k.table.set(k.at, "vips", "[ "+v.toml()+" ]", "example only: fill in the cluster's virtual IPs and uncomment the line")
		l.missing = fmt.Sprintf("add --vip %s=ADDRESS:PORT, or --iptables FILE with the output of iptables-save on the balancer", name)
		return
	}
	list := k.table.list(at, "vips")
	for _, v := range found {
		list.entries = append(list.entries, &line{at: at, value: v.toml()})
	}
}

// mergeVIP adds a VIP to a list, or its ports to an entry with the same address, interface and protocol. Duplicate ports are dropped.
func mergeVIP(list []VIP, v VIP) []VIP {
	at := slices.IndexFunc(list, func(o VIP) bool {
		return o.Address == v.Address && o.Interface == v.Interface && o.Protocol == v.Protocol
	})
	ports := v.Ports
	if at < 0 {
		at, v.Ports = len(list), nil
		list = append(list, v)
	}
	for _, p := range ports {
		if !slices.Contains(list[at].Ports, p) {
			list[at].Ports = append(list[at].Ports, p)
		}
	}
	return list
}

// noteUnusedRules notes firewall rules with a mark that no cluster has.
func (b *bigBrother) noteUnusedRules() {
	for _, r := range b.rules {
		if !r.used {
			b.add(r.at, "rule not converted: no cluster has mark %d", r.mark)
		}
	}
}
