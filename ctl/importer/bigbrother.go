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

// bigBrother converts a big_brother configuration.
type bigBrother struct {
	importState
	vips  map[string][]VIP // by cluster, from the command line
	rules []markRule       // from the firewall
}

// Addresses are the virtual IPs, which big_brother's configuration does not contain.
type Addresses struct {
	VIPs     []VIP
	IPTables string // file with output of iptables-save or with iptables commands; "" is none
}

// BigBrother converts configurations of big_brother 0.9.12 (lib/big_brother/configuration.rb, cluster.rb, node.rb,
// lib/resources/config_schema.yml) and of the older form with one table per cluster and checkInterval in milliseconds. The error is
// config.Mistakes if a file cannot be read.
func BigBrother(files []string, addresses Addresses, checks config.CheckValidator) (Result, error) {
	b := newBigBrother()
	b.out.head = []string{
		"Converted from " + strings.Join(files, ", ") + " by `lb ctl import bigbrother`.",
		"docs/bigbrother.md lists the differences between big_brother and lb.",
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
			return Result{}, config.Mistakes{{
				Key: "--vip " + v.Cluster, Problem: "the source has no cluster of this name", Fix: "use the name of one of its clusters",
			}}
		}
	}
	b.noteUnusedRules()
	return b.finish(checks)
}

func newBigBrother() *bigBrother {
	return &bigBrother{importState: newImportState(), vips: map[string][]VIP{}}
}

// file converts one file.
func (b *bigBrother) file(path string) error {
	source, err := readSource(path)
	if err != nil {
		return err
	}
	return b.source(path, source)
}

// source converts the text of one file.
func (b *bigBrother) source(path, source string) error {
	b.addSource(path, source)
	v, err := readYAML(path, source, &b.notes)
	if err != nil {
		return err
	}
	if v.kind != mapping {
		return typeMistake(v, "a table of clusters")
	}
	defaults, _ := v.get("_big_brother")
	if clusters, ok := v.get("clusters"); ok && clusters.kind != mapping {
		if clusters.kind != list {
			return typeMistake(clusters, "a list of clusters")
		}
		for _, p := range v.pairs {
			if p.key != "clusters" && p.key != "_big_brother" {
				b.skipOutsideTables(p.at, "big_brother has no such setting")
			}
		}
		for _, c := range clusters.items {
			b.listedCluster(c, defaults)
		}
		return nil
	}
	for _, p := range v.pairs {
		if p.key != "_big_brother" {
			b.namedCluster(p, defaults)
		}
	}
	return nil
}

// listedCluster converts an entry of the list of clusters.
func (b *bigBrother) listedCluster(c, defaults value) {
	name, ok := c.get("cluster_name")
	if c.kind != mapping || !ok || name.kind == null || name.text == "" {
		b.skipOutsideTables(c.at, "a cluster must be a table with a cluster_name")
		return
	}
	b.cluster(name.text, c.at, merge(defaults, c))
}

// namedCluster converts a cluster of the older form, whose key is its name.
func (b *bigBrother) namedCluster(p pair, defaults value) {
	if p.value.kind != mapping {
		b.skipOutsideTables(p.at, "a cluster must be a table")
		return
	}
	b.cluster(p.key, p.at, merge(defaults, p.value))
}

// merge returns a cluster's settings on top of the defaults. Nested tables are merged too.
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

// cluster converts a cluster and its Nagios hook.
func (b *bigBrother) cluster(name string, at location, c value) {
	t := b.beginTable("clusters", name, at)
	k := &clusterImport{bigBrother: b, table: t, settings: c, at: at}
	k.number("fwmark", "fwmark")
	k.text("scheduler", "scheduler")
	k.checkInterval()
	t.set(at, "fall", "1", "as in big_brother; lb's default of 2 tolerates one lost packet")
	k.mode()
	k.rampUpTime()
	k.downpage()
	k.dataCentres()
	mark, _ := c.get("fwmark")
	k.vips(name, mark)
	k.nodes()
	k.nagios(name)
	k.unknownSettings()
}

// clusterImport converts the settings of one cluster.
type clusterImport struct {
	*bigBrother
	table    *table
	settings value
	at       location
	used     []string

	mapPriority func(int64) int64 // from big_brother's priorities to lb's; nil unless the cluster is active_passive
}

// lookup returns a setting and marks it as used. nil counts as absent.
func (k *clusterImport) lookup(key string) (pair, bool) {
	k.used = append(k.used, key)
	for _, p := range k.settings.pairs {
		if p.key == key {
			return p, p.value.kind != null
		}
	}
	return pair{}, false
}

// skipSetting skips a setting and quotes it above the table.
func (k *clusterImport) skipSetting(p pair, reason string) {
	k.table.comments = append(k.table.comments, k.skip(p.at, reason)...)
}

func (k *clusterImport) number(key, as string) {
	p, ok := k.lookup(key)
	n, whole := p.value.number()
	switch {
	case ok && whole:
		k.table.set(p.at, as, strconv.FormatInt(n, 10), "")
	case ok:
		k.skipSetting(p, "must be a whole number")
	}
}

func (k *clusterImport) text(key, as string) {
	p, ok := k.lookup(key)
	switch {
	case ok && p.value.kind == text:
		k.table.set(p.at, as, quoted(p.value.text), "")
	case ok:
		k.skipSetting(p, "must be a string")
	}
}

// duration returns a setting that is given as a number of units.
func (k *clusterImport) duration(key string, unit time.Duration) (time.Duration, pair, bool) {
	p, ok := k.lookup(key)
	if !ok {
		return 0, p, false
	}
	d, good := p.value.duration(unit)
	if !good || d < 0 {
		k.skipSetting(p, "must be a duration of 0 or more")
	}
	return d, p, good && d >= 0
}

// checkInterval converts check_interval, in seconds with a default of 1, or checkInterval of the older form, in milliseconds.
func (k *clusterImport) checkInterval() {
	d, p, ok := k.duration("check_interval", time.Second)
	if olderForm, q, given := k.duration("checkInterval", time.Millisecond); given && !ok {
		d, p, ok = olderForm, q, true
	}
	switch {
	case !ok:
		k.table.set(k.at, "check_interval", duration(time.Second), "big_brother's default")
	case d == 0:
		k.table.set(p.at, "check_interval", duration(100*time.Millisecond), "big_brother treats 0 as its tick of 100 ms")
	default:
		k.table.set(p.at, "check_interval", duration(d), "")
	}
}

// rampUpTime converts ramp_up_time, in seconds with a default of 60.
func (k *clusterImport) rampUpTime() {
	if k.mapPriority != nil {
		k.skipRampUpTime()
		return
	}
	if d, p, ok := k.duration("ramp_up_time", time.Second); ok {
		k.table.set(p.at, "ramp_up_time", duration(d), "")
		return
	}
	k.table.set(k.at, "ramp_up_time", duration(time.Minute), "big_brother's default")
}

// unknownSettings skips settings that big_brother does not have either.
func (k *clusterImport) unknownSettings() {
	k.lookup("cluster_name")
	for _, p := range k.settings.pairs {
		if !slices.Contains(k.used, p.key) {
			k.skipSetting(p, "big_brother has no such setting")
		}
	}
}

// nodes converts the list of nodes. Those of other data centres become sites.
func (k *clusterImport) nodes() {
	p, ok := k.lookup("nodes")
	if !ok {
		return
	}
	if p.value.kind != list {
		k.skipSetting(p, "must be a list of nodes")
		return
	}
	nodes := k.table.list(p.at, "nodes")
	for _, n := range p.value.items {
		k.node(nodes, n)
	}
}

// node converts one node.
func (k *clusterImport) node(nodes *line, n value) {
	skip := func(reason string) {
		for _, c := range k.skip(n.at, reason) {
			nodes.entries = append(nodes.entries, &line{at: n.at, comment: c})
		}
	}
	if n.kind != mapping {
		skip("a node must be a table with an address")
		return
	}
	if interpol, _ := n.get("interpol"); interpol.text == "true" {
		k.site(n, skip)
		return
	}
	address, _ := n.get("address")
	path, hasPath := n.get("path")
	port, hasPort := n.get("port")
	out := inlineTable{}
	out.set("address", quoted(address.text))
	// Without a port, big_brother requests http://ADDRESS:/, which is port 80.
	number, whole := port.number()
	switch {
	case !hasPort || port.kind == null:
		out.set("port", "80")
	case !whole:
		skip("port must be a whole number, not " + port.describe())
		return
	default:
		out.set("port", strconv.FormatInt(number, 10))
	}
	if !hasPath || path.kind == null {
		path.text = "/"
	}
	out.set("path", quoted(path.text))
	k.setPriority(&out, n)
	setMaxWeight(&out, n)
	nodes.entries = append(nodes.entries, &line{at: n.at, value: out.String()})
	for _, p := range n.pairs {
		switch p.key {
		case "address", "port", "path", "interpol", "max_weight", "priority":
		case "weight":
			k.add(p.at, "weight not converted: lb derives weights from health, and big_brother used this one only until its first check")
		default:
			k.add(p.at, "%s not converted: big_brother's nodes have no such setting", p.key)
		}
	}
}

// exampleAddress returns a documentation address for a virtual IP: of the nodes' IP version, and not one of theirs.
func exampleAddress(nodes value, n int) netip.Addr {
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
