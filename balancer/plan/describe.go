package plan

import (
	"fmt"
	"strings"

	"github.com/braintree/lb/netx/ipvs"
)

// describeService describes a service's settings, such as "scheduler wlc".
func describeService(s ipvs.Service) string {
	text := "scheduler " + s.Scheduler
	if f := flags(s.Flags); f != "" {
		text += " (" + f + ")"
	}
	if s.Flags&ipvs.Persistent != 0 {
		text += fmt.Sprintf(", persistent for %s", s.Timeout)
		if s.Prefix != 0 {
			text += fmt.Sprintf(" by /%d", s.Prefix)
		}
	}
	return text
}

// serviceChange describes the difference between two states of a service.
func serviceChange(old, wanted ipvs.Service) string {
	if old.Flags == wanted.Flags && old.Timeout == wanted.Timeout && old.Prefix == wanted.Prefix {
		return fmt.Sprintf("scheduler %s → %s", old.Scheduler, wanted.Scheduler)
	}
	return describeService(old) + " → " + describeService(wanted)
}

// destinationChange describes the difference between two states of a node.
func destinationChange(old, wanted ipvs.Destination) string {
	var parts []string
	if old.Weight != wanted.Weight {
		parts = append(parts, fmt.Sprintf("weight %d → %d", old.Weight, wanted.Weight))
	}
	if old.Forwarding != wanted.Forwarding {
		parts = append(parts, fmt.Sprintf("forwarding %s → %s", old.Forwarding, wanted.Forwarding))
	}
	if old.Encap != wanted.Encap {
		parts = append(parts, fmt.Sprintf("encapsulation %s → %s", encap(old.Encap), encap(wanted.Encap)))
	}
	if old.Upper != wanted.Upper || old.Lower != wanted.Lower {
		parts = append(parts, fmt.Sprintf("connection limits %d/%d → %d/%d", old.Upper, old.Lower, wanted.Upper, wanted.Lower))
	}
	return strings.Join(parts, ", ")
}

// flags names the set flags except persistence.
func flags(f ipvs.Flags) string {
	var parts []string
	for _, known := range []struct {
		flag ipvs.Flags
		name string
	}{{ipvs.OnePacket, "one-packet"}, {ipvs.SchedFallback, "fallback"}, {ipvs.SchedPort, "port"}} {
		if f&known.flag != 0 {
			parts = append(parts, known.name)
		}
		f &^= known.flag
	}
	if f &^= ipvs.Persistent; f != 0 {
		parts = append(parts, fmt.Sprintf("flags %#x", uint32(f)))
	}
	return strings.Join(parts, ", ")
}

// encap describes a tunnel's encapsulation.
func encap(e ipvs.Encap) string {
	switch e.Type {
	case ipvs.IPIP:
		return "ipip"
	case ipvs.GUE:
		return fmt.Sprintf("gue port %d flags %#x", e.Port, e.Flags)
	case ipvs.GRE:
		return fmt.Sprintf("gre flags %#x", e.Flags)
	}
	return fmt.Sprintf("type %d port %d flags %#x", e.Type, e.Port, e.Flags)
}
