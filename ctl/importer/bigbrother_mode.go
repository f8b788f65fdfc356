package importer

import (
	"math"
	"slices"
	"strconv"
	"time"
)

// mode is active_active by default, in both.
func (k *clusterImport) mode() {
	p, ok := k.lookup("backend_mode")
	switch {
	case !ok || p.value.text == "active_active":
	case p.value.text == "active_passive":
		k.table.set(p.at, "mode", quoted("active_passive"), "")
		k.mapPriority = k.priorityMapping()
	default: // big_brother refuses the file
		k.skipSetting(p, "it is neither active_active nor active_passive")
		k.table.disabled = "what its backend_mode means is not known, and lb would send traffic to all of its nodes"
		k.add(k.at, "[%s] is not carried over: %s", k.table.name, k.table.disabled)
	}
}

// activeRampUpTime leaves ramp_up_time out, which has no effect where one node carries everything.
func (k *clusterImport) skipRampUpTime() {
	if d, p, ok := k.duration("ramp_up_time", time.Second); ok && d != 0 {
		k.skipSetting(p, "in an active/passive cluster of lb nothing ramps: the active node carries everything at once")
	}
}

// ranks keeps priorities as they are, or gives them new numbers in their order where lb has no room for one.
func (k *clusterImport) priorityMapping() func(int64) int64 {
	all := []int64{0} // a node's without one
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
	k.add(nodes.at, "priority has new numbers, in the same order: lb has 0 to %d", math.MaxUint16)
	return func(p int64) int64 {
		i, _ := slices.BinarySearch(all, p)
		return int64(i)
	}
}

// rank gives a node of an active_passive cluster its priority; in any other it has no effect, there as here.
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

// maxWeight gives a node its cap. What is no whole number above 0 is none, as in big_brother, and so is what no weight of the kernel's reaches.
func setMaxWeight(out *inlineTable, node value) {
	v, _ := node.get("max_weight")
	if most, ok := v.number(); ok && most > 0 && most < math.MaxUint16 {
		out.set("max_weight", strconv.FormatInt(most, 10))
	}
}

// downpage has the same address in both, unless lb is told another one.
func (k *clusterImport) downpage() {
	p, ok := k.lookup("has_downpage")
	switch {
	case !ok || p.value.text == "false":
	case p.value.kind == boolean:
		k.table.set(p.at, "all_down", quoted("downpage"), "at 169.254.254.254; page = true in its table has lb answer itself")
	default:
		k.skipSetting(p, "it is neither true nor false")
	}
}
