package importer

import (
	"strconv"
	"strings"
)

// dataCentres reads what a cluster has to do with other data centres, but for the nodes that are their balancers.
func (k *clusterImport) dataCentres() {
	k.number("offset", "relay_offset")
	k.number("max_down_ticks", "max_down_ticks")
	multi, given := k.lookup("multi_datacenter")
	switch {
	case given && multi.value.text == "true":
		k.table.set(multi.at, "relay", "true", "")
	case !given && k.mapPriority == nil && k.hasRemoteNodes():
		k.table.set(k.at, "relay", "true", "big_brother's default for active_active")
	}
	if p, ok := k.lookup("non_egress_locations"); ok {
		k.locations(p)
	}
}

// locations reads one data centre's name, or a list of them.
func (k *clusterImport) locations(p pair) {
	items := p.value.items
	if p.value.kind == text {
		items = []value{p.value}
	}
	var names []string
	for _, v := range items {
		if v.kind != text {
			k.skipSetting(p, "it is not a list of names")
			return
		}
		names = append(names, quoted(v.text))
	}
	if len(names) > 0 {
		k.table.set(p.at, "non_egress_locations", "["+strings.Join(names, ", ")+"]", "")
	}
}

func (k *clusterImport) hasRemoteNodes() bool {
	for _, p := range k.settings.pairs {
		if p.key != "nodes" {
			continue
		}
		for _, n := range p.value.items {
			if interpol, _ := n.get("interpol"); interpol.text == "true" {
				return true
			}
		}
	}
	return false
}

// site reads a node that is another data centre's balancer. Its path does not matter to big_brother either.
func (k *clusterImport) site(n value, skip func(reason string)) {
	address, _ := n.get("address")
	out := inlineTable{}
	out.set("address", quoted(address.text))
	port, given := n.get("port")
	number := int64(80) // where big_brother asks without one
	if given && port.kind != null {
		var whole bool
		if number, whole = port.number(); !whole {
			skip("its port is " + port.describe())
			return
		}
	}
	out.set("port", strconv.FormatInt(number, 10))
	sites := k.table.list(n.at, "sites")
	sites.entries = append(sites.entries, &line{at: n.at, value: out.String()})
}
