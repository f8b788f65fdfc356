package plan

import (
	"fmt"
	"strings"

	"github.com/braintree/lb/netx/ipvs"
)

// describeService gives what a service is beside its mark, such as "scheduler wlc".
func describeService(s ipvs.Service) string {
	words := "scheduler " + s.Scheduler
	if f := flags(s.Flags); f != "" {
		words += " (" + f + ")"
	}
	if s.Flags&ipvs.Persistent != 0 {
		words += fmt.Sprintf(", persistent for %s", s.Timeout)
		if s.Prefix != 0 {
			words += fmt.Sprintf(" by /%d", s.Prefix)
		}
	}
	return words
}

// serviceChange gives what differs between two states of a service.
func serviceChange(old, now ipvs.Service) string {
	if old.Flags == now.Flags && old.Timeout == now.Timeout && old.Prefix == now.Prefix {
		return fmt.Sprintf("scheduler %s → %s", old.Scheduler, now.Scheduler)
	}
	return describeService(old) + " → " + describeService(now)
}

// destinationChange gives what differs between two states of a node.
func destinationChange(old, now ipvs.Destination) string {
	var words []string
	if old.Weight != now.Weight {
		words = append(words, fmt.Sprintf("weight %d → %d", old.Weight, now.Weight))
	}
	if old.Forwarding != now.Forwarding {
		words = append(words, fmt.Sprintf("forwarding %s → %s", old.Forwarding, now.Forwarding))
	}
	if old.Encap != now.Encap {
		words = append(words, fmt.Sprintf("encapsulation %s → %s", encap(old.Encap), encap(now.Encap)))
	}
	if old.Upper != now.Upper || old.Lower != now.Lower {
		words = append(words, fmt.Sprintf("connection limits %d/%d → %d/%d", old.Upper, old.Lower, now.Upper, now.Lower))
	}
	return strings.Join(words, ", ")
}

// flags names the set flags but for persistence, which has a word of its own.
func flags(f ipvs.Flags) string {
	var words []string
	for _, known := range []struct {
		flag ipvs.Flags
		word string
	}{{ipvs.OnePacket, "one-packet"}, {ipvs.SchedFallback, "fallback"}, {ipvs.SchedPort, "port"}} {
		if f&known.flag != 0 {
			words = append(words, known.word)
		}
		f &^= known.flag
	}
	if f &^= ipvs.Persistent; f != 0 {
		words = append(words, fmt.Sprintf("flags %#x", uint32(f)))
	}
	return strings.Join(words, ", ")
}

// encap names what a tunnel wraps packets in.
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
