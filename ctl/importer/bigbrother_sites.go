package importer

import (
	"strconv"
	"strings"
)

// dataCentres converts the settings for several data centres, except the nodes that are other data centres' balancers.
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

// locations converts the name of a data centre, or a list of names.
func (k *clusterImport) locations(p pair) {
	items := p.value.items
	if p.value.kind == text {
		items = []value{p.value}
	}
	var names []string
	for _, v := range items {
		if v.kind != text {
			k.skipSetting(p, "must be a name or a list of names")
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

// site converts a node that is another data centre's balancer. Like lb, big_brother ignores its path.
func (k *clusterImport) site(n value, skip func(reason string)) {
	address, _ := n.get("address")
	out := inlineTable{}
	out.set("address", quoted(address.text))
	port, given := n.get("port")
	number := int64(80) // big_brother's default
	if given && port.kind != null {
		var whole bool
		if number, whole = port.number(); !whole {
			skip("port must be a whole number, not " + port.describe())
			return
		}
	}
	out.set("port", strconv.FormatInt(number, 10))
	sites := k.table.list(n.at, "sites")
	sites.entries = append(sites.entries, &line{at: n.at, value: out.String()})
}
