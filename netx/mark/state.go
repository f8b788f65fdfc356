package mark

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/braintree/lb/netx/ipvs"
)

// state is the table's state in the kernel.
type state struct {
	present    bool // table inet lb exists
	chainValid bool // table and chain are as lb creates them
	rulesValid bool // and so are the chain's rules
	maps       []mapState
}

// mapState is the state of one map, in the order of mapSpecs.
type mapState struct {
	present   bool // something of that name exists
	valid     bool // it is a map as lb creates it
	ruleValid bool // and its rule is in its place, in whatever form
	elements  []element
}

// readState reads the table. What the library cannot parse counts as invalid, since lb creates nothing of that kind. If
// another program changes nftables meanwhile, the operation is repeated anyway.
func (k *Kernel) readState() (state, error) {
	s := state{maps: make([]mapState, len(mapSpecs()))}
	t, err := k.reader.ListTableOfFamily(tableName, nftables.TableFamilyINet)
	if errors.Is(err, unix.ENOENT) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("read table inet %s: %w", tableName, err)
	}
	s.present = true
	if s.chainValid, err = k.chainValid(t); err != nil {
		return s, err
	}
	rules, err := k.reader.GetRules(table(), chain())
	exactly := err == nil && len(rules) == len(mapSpecs())
	s.rulesValid = exactly
	for i, spec := range mapSpecs() {
		s.maps[i] = k.mapState(spec)
		if !exactly {
			continue
		}
		form, leads := spec.formOf(rules[i])
		s.maps[i].ruleValid = leads
		s.rulesValid = s.rulesValid && leads && form != noCheck
	}
	return s, nil
}

// chainValid reports whether the table and chain are as lb creates them.
func (k *Kernel) chainValid(t *nftables.Table) (bool, error) {
	chains, err := k.reader.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return false, fmt.Errorf("read the chains of table inet %s: %w", tableName, err)
	}
	same := slices.ContainsFunc(chains, func(c *nftables.Chain) bool {
		return c.Table != nil && c.Table.Name == tableName && c.Table.Family == nftables.TableFamilyINet && equalChains(c, chain())
	})
	// The table flags are dormant and owner; lb sets neither.
	return same && t.Flags == 0, nil
}

// mapState reads one map.
func (k *Kernel) mapState(s mapSpec) mapState {
	invalid := mapState{present: true}
	want, err := s.set()
	if err != nil {
		return invalid
	}
	set, err := k.reader.GetSetByName(table(), s.name)
	if errors.Is(err, unix.ENOENT) {
		return mapState{}
	}
	if err != nil || !equalSets(set, want) {
		return invalid
	}
	elements, err := k.readElements(set)
	if err != nil {
		return invalid
	}
	return mapState{present: true, valid: true, elements: elements}
}

// readElements reads a map's elements, sorted. For some milliseconds after a large change the kernel resizes a map; a
// dump taken then has duplicates and may lack as many other elements, so it is repeated.
func (k *Kernel) readElements(set *nftables.Set) ([]element, error) {
	const maxReads = 20
	var elements []element
	for range maxReads {
		entries, err := k.reader.GetSetElements(set)
		if err != nil {
			return nil, err
		}
		elements = nil
		for _, e := range entries {
			if len(e.Val) != 4 {
				return nil, errors.New("a map element has no mark")
			}
			elements = append(elements, element{key: e.Key, mark: ipvs.Mark(binary.NativeEndian.Uint32(e.Val))})
		}
		slices.SortFunc(elements, compareElements)
		elements = slices.CompactFunc(elements, func(a, b element) bool { return compareElements(a, b) == 0 })
		if len(elements) == len(entries) {
			break
		}
	}
	return elements, nil
}

// rules returns the rules that take effect, sorted.
func (s state) rules() ([]Rule, error) {
	var rules []Rule
	for i, spec := range mapSpecs() {
		if !s.chainValid || !s.maps[i].valid || !s.maps[i].ruleValid {
			continue
		}
		for _, e := range s.maps[i].elements {
			r, err := spec.parseKey(e.key, e.mark)
			if err != nil {
				return nil, err
			}
			rules = append(rules, r)
		}
	}
	slices.SortFunc(rules, compareRules)
	return rules, nil
}

// plan compares the state with the desired rules, which must be normalized.
func (s state) plan(rules []Rule) plan {
	if !s.present && len(rules) == 0 {
		return plan{}
	}
	p := plan{rebuild: !s.chainValid, rewrite: !s.rulesValid}
	for i, spec := range mapSpecs() {
		c := mapChange{spec: spec, replace: !s.maps[i].valid, present: s.maps[i].present}
		var desired []element
		for _, r := range rules {
			if spec.contains(r) {
				desired = append(desired, element{key: spec.key(r), mark: r.Mark})
			}
		}
		slices.SortFunc(desired, compareElements)
		c.remove = difference(s.maps[i].elements, desired)
		c.add = difference(desired, s.maps[i].elements)
		c.desired = desired
		p.maps = append(p.maps, c)
	}
	return p
}

// difference returns the elements of a that are missing from b or have another mark there. Both are sorted.
func difference(a, b []element) []element {
	var rest []element
	for _, e := range a {
		i, same := slices.BinarySearchFunc(b, e, compareElements)
		if !same || b[i].mark != e.mark {
			rest = append(rest, e)
		}
	}
	return rest
}
