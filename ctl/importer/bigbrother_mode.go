package importer

import (
	"math"
	"slices"
	"strconv"
	"time"
)

// mode converts backend_mode. The default is active_active, as in lb.
func (k *clusterImport) mode() {
	p, ok := k.lookup("backend_mode")
	switch {
	case !ok || p.value.text == "active_active":
	case p.value.text == "active_passive":
		k.table.set(p.at, "mode", quoted("active_passive"), "")
		k.mapPriority = k.priorityMapping()
	default: // big_brother rejects the file
		k.skipSetting(p, "must be active_active or active_passive")
		k.table.disabled = "its backend_mode is unknown, and without it lb would send traffic to all nodes"
		k.add(k.at, "[%s] not converted: %s", k.table.name, k.table.disabled)
	}
}

// skipRampUpTime skips ramp_up_time, which has no effect where one node takes all traffic.
func (k *clusterImport) skipRampUpTime() {
	if d, p, ok := k.duration("ramp_up_time", time.Second); ok && d != 0 {
		k.skipSetting(p, "lb does not ramp up in active_passive mode: the active node takes all traffic at once")
	}
}

// priorityMapping keeps priorities as they are, or renumbers them in the same order if one is outside lb's range.
func (k *clusterImport) priorityMapping() func(int64) int64 {
	all := []int64{0} // the default
	nodes, _ := k.settings.get("nodes")
	for _, n := range nodes.items {
		if v, _ := n.get("priority"); v.kind == number {
			p, _ := v.number()
			all = append(all, p)
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	if all[0] >= 0 && all[len(all)-1] <= math.MaxUint16 {
		return func(p int64) int64 { return p }
	}
	k.add(nodes.at, "priorities renumbered in the same order: lb allows 0 to %d", math.MaxUint16)
	return func(p int64) int64 {
		i, _ := slices.BinarySearch(all, p)
		return int64(i)
	}
}

// setPriority sets the priority of a node in an active_passive cluster. In other modes it has no effect, in big_brother or in lb.
func (k *clusterImport) setPriority(out *inlineTable, node value) {
	if k.mapPriority == nil {
		return
	}
	v, _ := node.get("priority")
	p, _ := v.number()
	if r := k.mapPriority(p); r != 0 {
		out.set("priority", strconv.FormatInt(r, 10))
	}
}

// setMaxWeight sets a node's cap. As in big_brother, anything but a positive whole number means none. A cap at or above the kernel's
// largest weight is dropped.
func setMaxWeight(out *inlineTable, node value) {
	v, _ := node.get("max_weight")
	if weight, ok := v.number(); ok && weight > 0 && weight < math.MaxUint16 {
		out.set("max_weight", strconv.FormatInt(weight, 10))
	}
}

// downpage converts has_downpage. The default address is the same in both.
func (k *clusterImport) downpage() {
	p, ok := k.lookup("has_downpage")
	switch {
	case !ok || p.value.text == "false":
	case p.value.kind == boolean:
		k.table.set(p.at, "all_down", quoted("downpage"), "served from 169.254.254.254; to let lb serve it, set downpage = { page = true }")
	default:
		k.skipSetting(p, "must be true or false")
	}
}
