package config

import (
	"net/netip"
	"slices"
	"time"
)

// OwnPage is the page that lb itself can serve as the downpage.
type OwnPage struct {
	Page       bool          // serve it, instead of forwarding to an address
	HTML       string        // path of the page; "": a built-in page
	RetryAfter time.Duration // the Retry-After header, 1 s or more
	TLS        TLS           // its certificate, for ports where clients speak TLS; ClientCAFile is empty
}

// readOwnPage reads the keys of a downpage that concern lb's own page.
func readOwnPage(t *decoder) OwnPage {
	p := OwnPage{
		Page:       t.boolean("page", defaultPage),
		HTML:       file(t, "html"),
		RetryAfter: t.duration("retry_after", defaultRetryAfter),
	}
	if p.RetryAfter < time.Second {
		t.invalid("retry_after", "must be 1s or more", `use a duration such as "30s"`)
	}
	if tls, ok := t.table("tls"); ok {
		p.TLS = certificate(tls, "the page", "")
		tls.done()
	}
	for _, key := range []string{"html", "retry_after", "tls"} {
		if t.has(key) && !p.Page && (key != "tls" || p.TLS != TLS{}) {
			t.warn(key, "has no effect without page = true", "add that, or remove the key")
		}
	}
	for _, key := range []string{"address", "address6"} {
		if t.has(key) && p.Page {
			t.invalid(key, "names another server, but with page = true lb itself answers", "remove one of the two")
		}
	}
	return p
}

// Downpage is the server that answers when all_down is "downpage" and no node has weight.
type Downpage struct {
	Address  netip.Addr // for IPv4
	Address6 netip.Addr // for IPv6; invalid: none
	OwnPage
}

// readDownpage reads a cluster's table downpage.
func readDownpage(d *decoder, policy AllDown) Downpage {
	t, ok := d.table("downpage")
	if !ok {
		t = newDecoder(d.doc, joinKey(d.path, "downpage"), nil, d.report)
	}
	page := Downpage{Address: netip.MustParseAddr(defaultDownpage)}
	if t.has("address") {
		page.Address = destination(t, "address", defaultDownpage)
	}
	if t.str("address6", defaultDownpage6) != "" {
		page.Address6 = destination(t, "address6", "2001:db8::fe")
	}
	if page.Address.IsValid() && !page.Address.Is4() {
		t.invalid("address", "is not an IPv4 address", "move it to address6")
	}
	if page.Address6.IsValid() && page.Address6.Is4() {
		t.invalid("address6", "is not an IPv6 address", "move it to address")
	}
	page.OwnPage = readOwnPage(t)
	t.done()
	emptyTLS := t.has("tls") && page.TLS == TLS{}
	if len(t.values) > 0 && !(len(t.values) == 1 && emptyTLS) && policy != ToPage {
		d.warn("downpage", "has no effect without all_down = \"downpage\"", "add that to the cluster, or remove the table")
	}
	return page
}

// checkDownpage reports a downpage that is also a node or virtual IP of its cluster, and virtual IPs without a downpage.
func checkDownpage(d *decoder, c Cluster) {
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
		t.invalid("address", "is also the address of a node or virtual IP of the cluster", "use an address of its own")
	}
	if taken(c.Downpage.Address6) {
		t.invalid("address6", "is also the address of a node or virtual IP of the cluster", "use an address of its own")
	}
	if c.Downpage.Page {
		if !slices.ContainsFunc(c.VIPs, func(v VIP) bool { return v.Protocol == "tcp" }) {
			t.invalid("page", "serves HTTP, but the cluster has no virtual IP with protocol tcp", "remove it")
		}
		return
	}
	if !c.Downpage.Address6.IsValid() && slices.ContainsFunc(c.VIPs, func(v VIP) bool { return v.Address.Is6() }) {
		d.warn("all_down", "has no downpage for the IPv6 virtual IPs", "add address6 to ["+joinKey(d.path, "downpage")+"]")
	}
}
