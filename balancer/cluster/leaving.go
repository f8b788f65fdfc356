package cluster

import (
	"fmt"
	"maps"
	"net/netip"
	"time"

	"github.com/braintree/lb/netx/ipvs"
)

// leavingNodes are the destinations of the kernel's table that are in no configuration. They drain, then lb removes them.
type leavingNodes struct {
	since    map[netip.AddrPort]time.Time // since when each of them is leaving
	departed map[netip.Addr]string        // why a node that other data centres listed is leaving
}

// depart notes why a node that other data centres listed is leaving.
func (l *leavingNodes) depart(a netip.Addr, why string) {
	if l.departed == nil {
		l.departed = map[netip.Addr]string{}
	}
	l.departed[a] = why
}

// update makes these the leaving destinations.
func (l *leavingNodes) update(since map[netip.AddrPort]time.Time) {
	l.since = since
	maps.DeleteFunc(l.departed, func(a netip.Addr, _ string) bool { _, ok := since[netip.AddrPortFrom(a, 0)]; return !ok })
}

// cause says why a destination of the kernel's table is no node of the cluster.
func (l *leavingNodes) cause(a netip.Addr) string {
	if why := l.departed[a]; why != "" {
		return why
	}
	return "not in the configuration"
}

// progress is the cause, and how long the destination may stay.
func (l *leavingNodes) progress(now time.Time, d ipvs.Destination, limit time.Duration) string {
	why := l.cause(d.Address)
	if since, leaving := l.since[netip.AddrPortFrom(d.Address, d.Port)]; leaving {
		why = fmt.Sprintf("%s: it keeps its connections for up to %s, %s have passed", why, limit, now.Sub(since).Round(time.Second))
	}
	return why
}
