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
	rulesValid bool // the chain's rules are those of maps, in their order, and those that count or none of them
	counting   bool // those that count are among them
	oldForm    bool // a rule is in a form that must be rewritten
	maps       []mapState
	sets       []mapState // of counters
	arrival    arrivalState
}

// mapState is the state of one map or set, in the order of mapSpecs or countSpecs.
type mapState struct {
	present   bool // something of that name exists
	valid     bool // it is a map, or set, as lb creates it
	ruleValid bool // of a map: its rule is in its place, in whatever form
	elements  []element
}

// arrivalState is the state of the chain that counts what arrives.
type arrivalState struct {
	present, valid, rulesValid bool
}

// readState reads the table. What the library cannot parse counts as invalid, since lb creates nothing of that kind. If
// another program changes nftables meanwhile, the operation is repeated anyway.
func (k *Kernel) readState() (state, error) {
	s := state{maps: make([]mapState, len(mapSpecs())), sets: make([]mapState, len(countSpecs()))}
	t, err := k.reader.ListTableOfFamily(tableName, nftables.TableFamilyINet)
	if errors.Is(err, unix.ENOENT) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("read table inet %s: %w", tableName, err)
	}
	s.present = true
	if err = k.readChains(&s, t); err != nil {
		return s, err
	}
	for i, spec := range mapSpecs() {
		s.maps[i] = k.setState(spec)
	}
	for i, spec := range countSpecs() {
		s.sets[i] = k.setState(spec)
	}
	if rules, err := k.reader.GetRules(table(), chain()); err == nil {
		s.matchRules(rules)
	}
	if rules, err := k.reader.GetRules(table(), arrivalChain()); err == nil {
		s.arrival.rulesValid = countSpecs()[1].areRules(rules)
	}
	return s, nil
}

// matchRules finds out which of lb's rules the chain has.
func (s *state) matchRules(rules []*nftables.Rule) {
	valid := make([]bool, len(s.maps))
	for i, spec := range mapSpecs() {
		if len(rules) == 0 {
			break
		}
		if form, leads := spec.formOf(rules[0]); leads {
			valid[i], rules = true, rules[1:]
			s.oldForm = s.oldForm || form == noCheck
		}
	}
	s.counting = countSpecs()[0].areRules(rules)
	s.rulesValid = s.counting || len(rules) == 0
	for i := range s.maps {
		s.maps[i].ruleValid = valid[i] && s.rulesValid
	}
}

// readChains finds out whether the table and its chains are as lb creates them.
func (k *Kernel) readChains(s *state, t *nftables.Table) error {
	chains, err := k.reader.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return fmt.Errorf("read the chains of table inet %s: %w", tableName, err)
	}
	for _, c := range chains {
		if c.Table == nil || c.Table.Name != tableName || c.Table.Family != nftables.TableFamilyINet {
			continue
		}
		switch c.Name {
		case chainName:
			// The table flags are dormant and owner; lb sets neither.
			s.chainValid = equalChains(c, chain()) && t.Flags == 0
		case arrivalName:
			s.arrival.present, s.arrival.valid = true, equalChains(c, arrivalChain())
		}
	}
	return nil
}

// setSpec is a mapSpec or a countSpec.
type setSpec interface {
	setName() string
	set() (*nftables.Set, error)
}

// setState reads one map or set.
func (k *Kernel) setState(s setSpec) mapState {
	invalid := mapState{present: true}
	want, err := s.set()
	if err != nil {
		return invalid
	}
	set, err := k.reader.GetSetByName(table(), s.setName())
	if errors.Is(err, unix.ENOENT) {
		return mapState{}
	}
	if err != nil || !equalSets(set, want) {
		return invalid
	}
	elements, err := k.readElements(set, want.Counter)
	if err != nil {
		return invalid
	}
	return mapState{present: true, valid: true, elements: elements}
}

// readElements reads a map's elements, sorted. For some milliseconds after a large change the kernel resizes a map; a
// dump taken then has duplicates and may lack as many other elements, so it is repeated.
func (k *Kernel) readElements(set *nftables.Set, counted bool) ([]element, error) {
	const maxReads = 20
	var elements []element
	for range maxReads {
		entries, err := k.reader.GetSetElements(set)
		if err != nil {
			return nil, err
		}
		elements = nil
		for _, e := range entries {
			next := element{key: e.Key}
			switch {
			case set.IsMap && len(e.Val) == 4:
				next.mark = ipvs.Mark(binary.NativeEndian.Uint32(e.Val))
			case set.IsMap:
				return nil, errors.New("a map element has no mark")
			case counted && e.Counter != nil:
				k.counts = true
			case counted && k.counts:
				return nil, errors.New("a set element has no counter, although the kernel can count")
			}
			elements = append(elements, next)
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

// plan compares the state with the desired rules, which must be normalized. counted says whether to count what they mark.
func (s state) plan(rules []Rule, counted bool) plan {
	if !s.present && len(rules) == 0 {
		return plan{}
	}
	p := plan{rebuild: !s.chainValid, rewrite: !s.rulesValid || s.oldForm || s.counting != counted, counted: counted}
	for i, spec := range mapSpecs() {
		var desired []element
		for _, r := range rules {
			if spec.contains(r) {
				desired = append(desired, element{key: spec.key(r), mark: r.Mark})
			}
		}
		slices.SortFunc(desired, compareElements)
		p.maps = append(p.maps, s.maps[i].change(spec, desired))
		p.rewrite = p.rewrite || s.maps[i].ruleValid != (len(desired) > 0)
	}
	if !counted {
		return p
	}
	for i, spec := range countSpecs() {
		p.sets = append(p.sets, s.sets[i].change(spec, spec.keys(rules)))
	}
	p.arrival = s.arrival
	return p
}

// change is what makes a map or set have the desired elements, which are sorted.
func (m mapState) change(spec setSpec, desired []element) mapChange {
	return mapChange{
		spec: spec, replace: !m.valid, present: m.present, desired: desired,
		remove: difference(m.elements, desired), add: difference(desired, m.elements),
	}
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
