package config

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// schedulers are the schedulers of Linux, by their names in IPVS.
var schedulers = []string{
	"dh", "fo", "lblc", "lblcr", "lc", "mh", "nq", "ovf", "rr", "sed", "sh", "twos", "wlc", "wrr",
}

const (
	maxStreak     = 1000  // of rise, fall, min_healthy and max_down_ticks: a larger number is a typing error
	maxNodeWeight = 65535 // the largest weight that lb sets in the kernel
)

// cluster reads [clusters.NAME].
func (l *loader) cluster(d *decoder, name string) Cluster {
	checkName(d, name)
	c := Cluster{
		Name:         name,
		Mark:         l.mark(d),
		Scheduler:    d.str("scheduler", defaultScheduler),
		Forwarding:   Forwarding(d.str("forwarding", string(defaultForwarding))),
		Rise:         int(d.integer("rise", defaultRise, 1, maxStreak)),
		Fall:         int(d.integer("fall", defaultFall, 1, maxStreak)),
		RampUpTime:   d.duration("ramp_up_time", defaultRampUpTime),
		MaxWeight:    int(d.integer("max_weight", defaultMaxWeight, 0, maxNodeWeight)),
		DrainTimeout: d.duration("drain_timeout", defaultDrainTimeout),
		MinHealthy:   int(d.integer("min_healthy", defaultMinHealthy, 0, maxStreak)),
		Autostart:    d.boolean("autostart", defaultAutostart),
		Prefer:       readPrefer(d),
		Watch:        WatchMode(d.str("watch", string(defaultWatch))),
		Weights:      readWeights(d),
	}
	c.CheckInterval, c.CheckTimeout = intervalAndTimeout(d, "check_interval", "check_timeout", defaultCheckInterval, defaultCheckTimeoutFor)
	if !slices.Contains(schedulers, c.Scheduler) {
		fix := "use one of " + strings.Join(schedulers, ", ")
		if near := nearest(c.Scheduler, schedulers); near != "" {
			fix = "did you mean " + near + "?"
		}
		d.invalid("scheduler", "is not an IPVS scheduler", fix)
	}
	if !slices.Contains([]Forwarding{IPIP, DR, NAT}, c.Forwarding) {
		d.invalid("forwarding", "is not a forwarding method", "use ipip, dr or nat")
	}
	if !slices.Contains([]WatchMode{WatchAuto, WatchPoll}, c.Watch) {
		d.invalid("watch", "is not a watch mode", "use auto or poll")
	}
	c.Balancing = readBalancing(d, c.Scheduler)
	vips := d.tables("vips")
	for _, v := range vips {
		c.VIPs = append(c.VIPs, l.vip(v))
	}
	if len(c.VIPs) == 0 && !d.failed("vips") {
		required(d, "vips", `list the virtual IPs: vips = [ { address = "203.0.113.7", ports = [443] } ]`)
	}
	c.OnFailure = readOnFailure(d, c)
	nodes := d.tables("nodes")
	c.Nodes = readNodes(nodes, c)
	if len(c.Nodes) == 0 && !d.failed("nodes") {
		required(d, "nodes", `list the nodes: nodes = [ { address = "10.0.0.1" } ]`)
	}
	l.readSiteKeys(d, &c)
	checkDownpage(d, c)
	d.done()
	checkIPVersions(c, vips, nodes)
	checkOnePacket(c, d)
	checkNodeLimits(c, nodes)
	return c
}

// mark reads the fwmark. Each cluster needs its own.
func (l *loader) mark(d *decoder) uint32 {
	const key = "fwmark"
	if !d.has(key) {
		d.consumed[key] = true
		d.missing(key, "give the cluster its own mark, 1 to 4294967295: fwmark = 7")
		return 0
	}
	v, ok := get[int64](d, key, "a whole number", "use one from 1 to 4294967295, without quotes")
	if !ok {
		return 0
	}
	if v < 1 || v > math.MaxUint32 {
		d.invalid(key, "must be 1 to 4294967295", "use a number in that range")
		return 0
	}
	mark := uint32(v)
	if owner, taken := l.marks[mark]; taken {
		d.invalid(key, "is already the mark of "+owner, "give each cluster its own mark")
		return mark
	}
	l.marks[mark] = fmt.Sprintf("%s (%s)", d.path, d.location())
	return mark
}
