package config

import (
	"net/netip"
	"slices"
	"time"
)

// Mode is whether the nodes of a cluster share the traffic.
type Mode string

// The modes.
const (
	ActiveActive  Mode = "active_active"  // all healthy nodes, by their weights
	ActivePassive Mode = "active_passive" // the first healthy one by priority, then address
)

// AllDown is what a cluster does when no node has weight.
type AllDown string

// The policies for a cluster whose nodes are all at 0.
const (
	RefuseAll AllDown = "none"     // new connections are refused
	ToPage    AllDown = "downpage" // a server of last resort answers
	HoldLast  AllDown = "hold"     // the last to go keep their weights
	AllIn     AllDown = "all_in"   // every node is tried
)

// Downpage is the server of last resort: it answers when all_down is "downpage" and no node has weight.
type Downpage struct {
	Address  netip.Addr // for IPv4
	Address6 netip.Addr // for IPv6; invalid is none
	OwnPage
}

// Weights are what a cluster's configuration says about weights beyond a node's own health.
type Weights struct {
	Mode         Mode
	AllDown      AllDown
	Downpage     Downpage
	SuspectShare int           // percentage of the nodes with weight that may fall silent at once and be believed; 0 is all
	SuspectTime  time.Duration // how long the weights of more are held
	DeadBand     int           // points by which a health must change to be followed; 0 follows every change
	Slew         int           // points a second by which a weight follows at most; 0 is at once
}

// Bounds of the damping: a health is 0 to 100, and a share of all nodes or more can never fall.
const (
	deadBandMost     = 100
	suspectShareMost = 99
)

// weights reads a cluster's keys about weights, which stand in its own table.
func (l *loader) weights(d *decoder) Weights {
	w := Weights{
		Mode:         Mode(d.str("mode", string(defaultMode))),
		AllDown:      AllDown(d.str("all_down", string(defaultAllDown))),
		SuspectShare: int(d.integer("suspect_share", defaultSuspectShare, 0, suspectShareMost)),
		SuspectTime:  d.duration("suspect_time", defaultSuspectTime),
		DeadBand:     int(d.integer("dead_band", defaultDeadBand, 0, deadBandMost)),
		Slew:         int(d.integer("slew", defaultSlew, 0, weightCap)),
	}
	if !slices.Contains([]Mode{ActiveActive, ActivePassive}, w.Mode) {
		d.mistake("mode", "is not a mode", "write active_active or active_passive")
	}
	if !slices.Contains([]AllDown{RefuseAll, ToPage, HoldLast, AllIn}, w.AllDown) {
		d.mistake("all_down", "is not a policy for when all nodes are down", "write none, downpage, hold or all_in")
	}
	if w.SuspectTime == 0 {
		d.mistake("suspect_time", "would hold no weight", `write a duration such as "60s", and suspect_share = 0 to hold none`)
	}
	if w.Mode == ActivePassive && d.has("ramp_up_time") {
		l.warn(d, "ramp_up_time", "has no effect with mode = \"active_passive\": the active node carries everything at once", "remove it")
	}
	w.Downpage = l.downpage(d, w.AllDown)
	return w
}

// downpage reads a cluster's table of that name.
func (l *loader) downpage(d *decoder, policy AllDown) Downpage {
	t, ok := d.table("downpage")
	if !ok {
		t = newDecoder(d.doc, joinKey(d.path, "downpage"), nil, d.report)
	}
	page := Downpage{Address: netip.MustParseAddr(defaultDownpage)}
	if t.has("address") {
		page.Address = unicast(t, "address", defaultDownpage)
	}
	if t.str("address6", defaultDownpage6) != "" {
		page.Address6 = unicast(t, "address6", "2001:db8::fe")
	}
	if page.Address.IsValid() && !page.Address.Is4() {
		t.mistake("address", "is not an IPv4 address", "write it as address6")
	}
	if page.Address6.IsValid() && page.Address6.Is4() {
		t.mistake("address6", "is not an IPv6 address", "write it as address")
	}
	page.OwnPage = l.ownPage(t)
	t.done()
	emptyTLS := t.has("tls") && page.TLS == TLS{}
	if len(t.values) > 0 && !(len(t.values) == 1 && emptyTLS) && policy != ToPage {
		l.warn(d, "downpage", "has no effect without all_down = \"downpage\"", "add that to the cluster, or remove the table")
	}
	return page
}

// lastResort reports a downpage that is a node or a virtual IP of its own cluster, and virtual IPs that have none.
func (l *loader) lastResort(d *decoder, c Cluster) {
	if c.AllDown != ToPage {
		return
	}
	t, ok := d.table("downpage")
	if !ok {
		t = newDecoder(d.doc, joinKey(d.path, "downpage"), nil, d.report)
	}
	taken := func(a netip.Addr) bool {
		return a.IsValid() && (slices.ContainsFunc(c.Nodes, func(n Node) bool { return n.Address == a }) ||
			slices.ContainsFunc(c.VIPs, func(v VIP) bool { return v.Address == a }))
	}
	if taken(c.Downpage.Address) {
		t.mistake("address", "is also that of a node or virtual IP of the cluster", "give the server of last resort an address of its own")
	}
	if taken(c.Downpage.Address6) {
		t.mistake("address6", "is also that of a node or virtual IP of the cluster", "give the server of last resort an address of its own")
	}
	if c.Downpage.Page {
		if !slices.ContainsFunc(c.VIPs, func(v VIP) bool { return v.Protocol == "tcp" }) {
			t.mistake("page", "is for HTTP, but no virtual IP of the cluster is for tcp", "remove it")
		}
		return
	}
	if !c.Downpage.Address6.IsValid() && slices.ContainsFunc(c.VIPs, func(v VIP) bool { return v.Address.Is6() }) {
		l.warn(d, "all_down", "has no downpage for the IPv6 virtual IPs", "add address6 to ["+joinKey(d.path, "downpage")+"]")
	}
}
