package mark

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/braintree/lb/netx/ipvs"
)

// ErrInvalid means that a set of rules is invalid.
var ErrInvalid = errors.New("invalid marking rules")

// maxInterfaceName is IFNAMSIZ without the terminating zero byte.
const maxInterfaceName = 15

// protocols lists the protocols that IPVS balances by port, with their IANA numbers.
var protocols = []struct {
	name   string
	number byte
}{{"tcp", 6}, {"udp", 17}, {"sctp", 132}}

func protocolNumber(name string) (byte, bool) {
	for _, p := range protocols {
		if p.name == name {
			return p.number, true
		}
	}
	return 0, false
}

// String formats the rule: "tcp 204.109.13.7:443 on eth10 → mark 7".
func (r Rule) String() string {
	on := ""
	if r.Interface != "" {
		on = " on " + r.Interface
	}
	address := r.Address.String()
	if r.Address.Is6() {
		address = "[" + address + "]"
	}
	return fmt.Sprintf("%s %s:%d%s → mark %d", r.Protocol, address, r.Port, on, r.Mark)
}

// normalize returns the rules sorted, without duplicates and with plain IPv4 addresses, or an error that lists all
// mistakes.
func normalize(rules []Rule) ([]Rule, error) {
	rules = slices.Clone(rules)
	var errs []error
	for i, r := range rules {
		rules[i].Address = r.Address.Unmap()
		if err := r.validate(); err != nil {
			errs = append(errs, fmt.Errorf("%w: %s: %w", ErrInvalid, r, err))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	slices.SortFunc(rules, compareRules)
	rules = slices.Compact(rules)
	for i := 1; i < len(rules); i++ {
		if compareKeys(rules[i-1], rules[i]) == 0 {
			errs = append(errs, fmt.Errorf("%w: %s conflicts with mark %d for the same packets: remove one of them",
				ErrInvalid, rules[i-1], rules[i].Mark))
		}
	}
	return rules, errors.Join(errs...)
}

func (r Rule) validate() error {
	if !r.Address.IsValid() {
		return errors.New("no address")
	}
	if r.Address.Zone() != "" {
		return errors.New("the address has a zone: name the interface instead")
	}
	if _, known := protocolNumber(r.Protocol); !known {
		return fmt.Errorf("protocol %q is not tcp, udp or sctp", r.Protocol)
	}
	if r.Port == 0 {
		return errors.New("ports are 1 to 65535")
	}
	if r.Mark == ipvs.Mark(0) {
		return errors.New("marks are 1 to 4294967295")
	}
	if len(r.Interface) > maxInterfaceName || strings.ContainsAny(r.Interface, "/: \t\n\v\f\r\x00") ||
		r.Interface == "." || r.Interface == ".." {
		return fmt.Errorf("%q is not a valid interface name: use at most %d characters, without space, slash or colon",
			r.Interface, maxInterfaceName)
	}
	return nil
}

// compareKeys orders rules by what they match: address, protocol, port, interface.
func compareKeys(a, b Rule) int {
	return cmp.Or(a.Address.Compare(b.Address), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port),
		cmp.Compare(a.Interface, b.Interface))
}

// compareCounts orders counts by what they are of.
func compareCounts(a, b Count) int {
	return cmp.Or(cmp.Compare(a.Mark, b.Mark), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
}

func compareForeign(a, b Foreign) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.What, b.What), cmp.Compare(a.Show, b.Show))
}

func compareRules(a, b Rule) int {
	return cmp.Or(compareKeys(a, b), cmp.Compare(a.Mark, b.Mark))
}
