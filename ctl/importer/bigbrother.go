package importer

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/braintree/lb/config"
)

// bigBrother is the import of a big_brother configuration.
type bigBrother struct {
	carrier
	vips  map[string][]VIP // of each cluster, as the operator gives them
	rules []markRule       // of the firewall
}

// Addresses say what big_brother's configuration does not: which packets belong to which cluster.
type Addresses struct {
	VIPs     []VIP
	IPTables string // file of iptables-save or of iptables commands; "" is none
}

// BigBrother imports the configuration of big_brother 0.9.12 (lib/big_brother/configuration.rb, cluster.rb, node.rb,
// lib/resources/config_schema.yml), or of the older form with a table for each cluster and checkInterval in milliseconds. The error
// is config.Diagnostics when a file cannot be read.
func BigBrother(files []string, addresses Addresses, checks config.CheckValidator) (Result, error) {
	b := newBigBrother()
	b.out.head = []string{
		"Made of " + strings.Join(files, ", ") + " by `lb ctl import bigbrother`.",
		"docs/bigbrother.md says what lb does otherwise than big_brother.",
	}
	for _, v := range addresses.VIPs {
		b.vips[v.Cluster] = append(b.vips[v.Cluster], v)
	}
	if addresses.IPTables != "" {
		source, err := readSource(addresses.IPTables)
		if err != nil {
			return Result{}, err
		}
		b.rules = parseIPTables(addresses.IPTables, source, &b.notes)
	}
	for _, f := range files {
		if err := b.file(f); err != nil {
			return Result{}, err
		}
	}
	for _, v := range addresses.VIPs {
		if _, ok := b.tables[tableName("clusters", v.Cluster)]; !ok {
			return Result{}, config.Diagnostics{{
				Key: "--vip " + v.Cluster, Problem: "the source has no cluster of this name", Fix: "name one that it has",
			}}
		}
	}
	b.leftRules()
	return b.judge(checks)
}

func newBigBrother() *bigBrother {
	return &bigBrother{carrier: newCarrier(), vips: map[string][]VIP{}}
}

// file imports one file.
func (b *bigBrother) file(path string) error {
	source, err := readSource(path)
	if err != nil {
		return err
	}
	return b.source(path, source)
}

// source imports the text of one file.
func (b *bigBrother) source(path, source string) error {
	b.keep(path, source)
	v, err := readYAML(path, source, &b.notes)
	if err != nil {
		return err
	}
	if v.kind != mapping {
		return expected(v, "a table of clusters")
	}
	defaults, _ := v.get("_big_brother")
	if clusters, ok := v.get("clusters"); ok && clusters.kind != mapping {
		if clusters.kind != list {
			return expected(clusters, "a list of clusters")
		}
		for _, p := range v.pairs {
			if p.key != "clusters" && p.key != "_big_brother" {
				b.setAside(p.at, "big_brother has no setting of this name")
			}
		}
		for _, c := range clusters.items {
			b.listed(c, defaults)
		}
		return nil
	}
	for _, p := range v.pairs {
		if p.key != "_big_brother" {
			b.named(p, defaults)
		}
	}
	return nil
}

// listed imports an entry of the list of clusters.
func (b *bigBrother) listed(c, defaults value) {
	name, ok := c.get("cluster_name")
	if c.kind != mapping || !ok || name.kind == null || name.text == "" {
		b.setAside(c.at, "a cluster is a table with a cluster_name")
		return
	}
	b.cluster(name.text, c.at, merge(defaults, c))
}

// named imports a cluster of the older form, whose name is its key.
func (b *bigBrother) named(p pair, defaults value) {
	if p.value.kind != mapping {
		b.setAside(p.at, "a cluster is a table")
		return
	}
	b.cluster(p.key, p.at, merge(defaults, p.value))
}

// merge lays the settings of a cluster over the defaults for all, tables within them too.
func merge(defaults, own value) value {
	out := value{kind: mapping, at: own.at, pairs: slices.Clone(defaults.pairs)}
	for _, p := range own.pairs {
		if old, ok := out.get(p.key); ok && old.kind == mapping && p.value.kind == mapping {
			p.value = merge(old, p.value)
		}
		out.set(p)
	}
	return out
}

// cluster imports a cluster, and its hook for Nagios.
func (b *bigBrother) cluster(name string, at place, c value) {
	t := b.begin("clusters", name, at)
	k := &clusterKeys{bigBrother: b, table: t, given: c, at: at}
	k.number("fwmark", "fwmark")
	k.text("scheduler", "scheduler")
	k.checkInterval()
	t.set(at, "fall", "1", "as big_brother; lb's default, 2, rides out a lost packet")
	k.mode()
	k.rampUpTime()
	k.downpage()
	k.dataCentres()
	mark, _ := c.get("fwmark")
	k.vips(name, mark)
	k.nodes()
	k.nagios(name)
	k.unknown()
}

// clusterKeys reads the settings of a cluster.
type clusterKeys struct {
	*bigBrother
	table *table
	given value
	at    place
	used  []string

	priorities func(int64) int64 // of an active_passive cluster: what its nodes' become; nil in any other
}

// take reads a setting; nil counts as none.
func (k *clusterKeys) take(key string) (pair, bool) {
	k.used = append(k.used, key)
	for _, p := range k.given.pairs {
		if p.key == key {
			return p, p.value.kind != null
		}
	}
	return pair{}, false
}

// leave leaves a setting out, with its lines above the table.
func (k *clusterKeys) leave(p pair, reason string) {
	k.table.comments = append(k.table.comments, k.leaveOut(p.at, reason)...)
}

func (k *clusterKeys) number(key, as string) {
	p, ok := k.take(key)
	n, whole := p.value.number()
	switch {
	case ok && whole:
		k.table.set(p.at, as, strconv.FormatInt(n, 10), "")
	case ok:
		k.leave(p, "it is not a whole number")
	}
}

func (k *clusterKeys) text(key, as string) {
	p, ok := k.take(key)
	switch {
	case ok && p.value.kind == text:
		k.table.set(p.at, as, quoted(p.value.text), "")
	case ok:
		k.leave(p, "it is not text")
	}
}

// time reads a time that is given as a number of units.
func (k *clusterKeys) time(key string, unit time.Duration) (time.Duration, pair, bool) {
	p, ok := k.take(key)
	if !ok {
		return 0, p, false
	}
	d, good := p.value.times(unit)
	if !good || d < 0 {
		k.leave(p, "it is not a time")
	}
	return d, p, good && d >= 0
}

// checkInterval is in seconds, 1 by default, and in milliseconds in the older form.
func (k *clusterKeys) checkInterval() {
	d, p, ok := k.time("check_interval", time.Second)
	if older, q, given := k.time("checkInterval", time.Millisecond); given && !ok {
		d, p, ok = older, q, true
	}
	switch {
	case !ok:
		k.table.set(k.at, "check_interval", duration(time.Second), "big_brother's default")
	case d == 0:
		k.table.set(p.at, "check_interval", duration(100*time.Millisecond), "0 was big_brother's tick, a tenth of a second")
	default:
		k.table.set(p.at, "check_interval", duration(d), "")
	}
}

// rampUpTime is in seconds, 60 by default.
func (k *clusterKeys) rampUpTime() {
	if k.priorities != nil {
		k.activeRampUpTime()
		return
	}
	if d, p, ok := k.time("ramp_up_time", time.Second); ok {
		k.table.set(p.at, "ramp_up_time", duration(d), "")
		return
	}
	k.table.set(k.at, "ramp_up_time", duration(time.Minute), "big_brother's default")
}

// unknown leaves out what big_brother does not know either.
func (k *clusterKeys) unknown() {
	k.take("cluster_name")
	for _, p := range k.given.pairs {
		if !slices.Contains(k.used, p.key) {
			k.leave(p, "big_brother has no setting of this name")
		}
	}
}

// nodes reads the nodes of this data centre.
func (k *clusterKeys) nodes() {
	p, ok := k.take("nodes")
	if !ok {
		return
	}
	if p.value.kind != list {
		k.leave(p, "it is not a list of nodes")
		return
	}
	nodes := k.table.list(p.at, "nodes")
	for _, n := range p.value.items {
		k.node(nodes, n)
	}
}

// node reads one node.
func (k *clusterKeys) node(nodes *line, n value) {
	leave := func(reason string) {
		for _, c := range k.leaveOut(n.at, reason) {
			nodes.entries = append(nodes.entries, &line{at: n.at, why: c})
		}
	}
	if n.kind != mapping {
		leave("a node is a table with an address")
		return
	}
	if interpol, _ := n.get("interpol"); interpol.text == "true" {
		k.site(n, leave)
		return
	}
	address, _ := n.get("address")
	path, hasPath := n.get("path")
	port, hasPort := n.get("port")
	out := inline{}
	out.set("address", quoted(address.text))
	// Without them, big_brother asks http://ADDRESS:/, which is port 80.
	number, whole := port.number()
	switch {
	case !hasPort || port.kind == null:
		out.set("port", "80")
	case !whole:
		leave("its port is " + port.shown())
		return
	default:
		out.set("port", strconv.FormatInt(number, 10))
	}
	if !hasPath || path.kind == null {
		path.text = "/"
	}
	out.set("path", quoted(path.text))
	k.rank(&out, n)
	maxWeight(&out, n)
	nodes.entries = append(nodes.entries, &line{at: n.at, value: out.String()})
	for _, p := range n.pairs {
		switch p.key {
		case "address", "port", "path", "interpol", "max_weight", "priority":
		case "weight":
			k.add(p.at, "weight is left out: a node's weight is its health; the one that is given counted until the first check")
		default:
			k.add(p.at, "%s is left out: big_brother's nodes have no such setting", p.key)
		}
	}
}

// example is an address that stands where the operator has to write one: of the version of the cluster's nodes, and none of them.
func example(nodes value, n int) netip.Addr {
	taken := map[string]bool{}
	for _, item := range nodes.items {
		a, _ := item.get("address")
		taken[a.text] = true
		if strings.Contains(a.text, ":") {
			return netip.MustParseAddr(fmt.Sprintf("2001:db8::%x:%x", n>>16, n&0xffff|1))
		}
	}
	for i := range 254 {
		a := netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + (n+i)%254)})
		if !taken[a.String()] {
			return a
		}
	}
	return netip.AddrFrom4([4]byte{203, 0, 113, 1})
}
