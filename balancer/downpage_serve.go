package balancer

import (
	"context"
	"net/netip"
	"slices"

	"github.com/braintree/lb/balancer/page"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

// served is the page that lb itself serves for a cluster, while the cluster runs here.
type served struct {
	server    *page.Server
	content   *page.Content
	addresses []netip.Addr // that it listens on
	stop      context.CancelFunc
}

// loadPages reads the pages of the clusters that have one of lb's own, by the cluster's name.
func loadPages(clusters []config.Cluster) (map[string]*page.Content, error) {
	pages := map[string]*page.Content{}
	for _, c := range clusters {
		if !c.Downpage.Page || c.AllDown != config.ToPage {
			continue
		}
		content, err := page.Load(c)
		if err != nil {
			return nil, err
		}
		pages[c.Name] = content
	}
	return pages, nil
}

// servePages has the pages of the clusters that run served, and no others. Each listens from the start of its cluster on: when the last
// node goes there is no time to lose, and no port that may be missing then.
func (e *engine) servePages(ctx context.Context) {
	for _, c := range e.clusters {
		content, wanted := e.pages[c.cfg.Name]
		addresses := c.pageAddresses()
		if c.served != nil && (!wanted || !c.running || !slices.Equal(c.served.addresses, addresses)) {
			c.closePage()
		}
		switch {
		case !wanted || !c.running || e.rehearses:
			continue
		case c.served != nil:
			if c.served.content != content {
				c.served.content = content
				c.served.server.SetContent(content)
			}
			continue
		}
		server, err := page.Listen(ctx, c.cfg.Name, addresses, content, e.log)
		trouble := ""
		if err != nil {
			trouble = err.Error()
		}
		e.say("the downpage of cluster "+c.cfg.Name, c, &c.pageTrouble, trouble)
		if err != nil {
			continue
		}
		ctx, stop := context.WithCancel(ctx)
		c.served = &served{server, content, addresses, stop}
		e.watchers.Go(func() { server.Run(ctx) })
	}
}

// pageAddresses are the first virtual IP of each family: what comes to the others is led to it, too.
func (c *cluster) pageAddresses() []netip.Addr {
	var addresses []netip.Addr
	for _, family := range c.families() {
		at := slices.IndexFunc(c.cfg.VIPs, func(v config.VIP) bool { return ipvs.FamilyOf(v.Address) == family })
		addresses = append(addresses, c.cfg.VIPs[at].Address)
	}
	return addresses
}

// closePage stops serving the cluster's page.
func (c *cluster) closePage() {
	if c.served != nil {
		c.served.stop()
		c.served = nil
	}
}
