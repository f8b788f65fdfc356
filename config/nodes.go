package config

import (
	"math"
	"net/url"
	"strconv"
	"strings"
)

// readNodes reads the list of a cluster's nodes.
func readNodes(nodes []*decoder, c Cluster) []Node {
	var all []Node
	for _, n := range nodes {
		node := readNode(n, c.Name, c.MaxConnections)
		if node.Priority != 0 && c.Mode != ActivePassive {
			n.warn("priority", "has no effect without mode = \"active_passive\"", "add that to the cluster, or remove the priority")
		}
		for j, other := range all {
			if node.Address.IsValid() && node.Address == other.Address {
				n.invalid("address", "is also the address of the node at "+nodes[j].location()+
					"; packets keep their port, so an address is one node whatever the port of its agent", "remove one of them")
			}
		}
		all = append(all, node)
	}
	return all
}

// readNode reads one entry of nodes. limit is the cluster's max_connections.
func readNode(d *decoder, cluster string, limit uint32) Node {
	n := Node{
		Address: address(d, destination, "10.0.0.1"),
		Port:    uint16(d.integer("port", defaultNodePort, 1, math.MaxUint16)),
		Path:    d.str("path", defaultNodePath(cluster)),

		Priority:       int(d.integer("priority", defaultPriority, 0, math.MaxUint16)),
		MaxWeight:      int(d.integer("max_weight", defaultMaxWeight, 0, maxNodeWeight)),
		MaxConnections: connections(d, "max_connections", limit),
	}
	_, err := url.ParseRequestURI(n.Path)
	if d.has("path") && (err != nil || n.Path[0] != '/' || strings.ContainsAny(n.Path, " #")) {
		d.invalid("path", "is not a URL path", "use a path such as "+strconv.Quote(defaultNodePath(cluster)))
	}
	d.done()
	return n
}
