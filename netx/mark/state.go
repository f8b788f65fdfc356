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

// state is what the kernel has of our table.
type state struct {
	present bool // there is a table inet lb
	intact  bool // table, chain, every map and rule are as we make them, whatever the maps hold
	hooked  bool // the table and the chain are
	maps    []found
}

// found is one of the maps, in the order of shapes().
type found struct {
	intact   bool // it and its rule are as we make them
	elements []element
}

// state reads the table. What the library cannot read counts as damaged, for lb makes nothing of the kind; an operation that fails
// while another program changes nftables is repeated anyway.
func (k *Kernel) state() (state, error) {
	s := state{maps: make([]found, len(shapes()))}
	t, err := k.reader.ListTableOfFamily(tableName, nftables.TableFamilyINet)
	if errors.Is(err, unix.ENOENT) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("read table inet %s: %w", tableName, err)
	}
	s.present = true
	if s.hooked, err = k.hooked(t); err != nil {
		return s, err
	}
	rules, err := k.reader.GetRules(table(), chain())
	exactly := err == nil && len(rules) == len(shapes())
	s.intact = s.hooked && exactly
	for i, shape := range shapes() {
		tagged := exactly && sameRule(rules[i], shape.rule())
		s.maps[i] = k.find(shape)
		s.maps[i].intact = s.maps[i].intact && tagged
		s.intact = s.intact && s.maps[i].intact
	}
	return s, nil
}

// hooked says whether the chain sees packets where it should.
func (k *Kernel) hooked(t *nftables.Table) (bool, error) {
	chains, err := k.reader.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return false, fmt.Errorf("read the chains of table inet %s: %w", tableName, err)
	}
	same := slices.ContainsFunc(chains, func(c *nftables.Chain) bool {
		return c.Table != nil && c.Table.Name == tableName && c.Table.Family == nftables.TableFamilyINet && sameChain(c, chain())
	})
	// A table's flags are dormant and owner; ours has none.
	return same && t.Flags == 0, nil
}

// find reads one map.
func (k *Kernel) find(s shape) found {
	want, err := s.set()
	if err != nil {
		return found{}
	}
	set, err := k.reader.GetSetByName(table(), s.name)
	if err != nil || !sameSet(set, want) {
		return found{}
	}
	entries, err := k.reader.GetSetElements(set)
	if err != nil {
		return found{}
	}
	f := found{intact: true}
	for _, e := range entries {
		if len(e.Val) != 4 {
			return found{}
		}
		f.elements = append(f.elements, element{key: e.Key, mark: ipvs.Mark(binary.NativeEndian.Uint32(e.Val))})
	}
	slices.SortFunc(f.elements, compareElements)
	return f
}

// rules gives the rules that take effect, sorted.
func (s state) rules() ([]Rule, error) {
	var rules []Rule
	for i, shape := range shapes() {
		if !s.hooked || !s.maps[i].intact {
			continue
		}
		for _, e := range s.maps[i].elements {
			r, err := shape.read(e.key, e.mark)
			if err != nil {
				return nil, err
			}
			rules = append(rules, r)
		}
	}
	slices.SortFunc(rules, compare)
	return rules, nil
}

// plan compares what is there with the wanted rules, which are normal.
func (s state) plan(rules []Rule) plan {
	p := plan{
		rebuild: !s.intact && (s.present || len(rules) > 0),
		remove:  make([][]element, len(shapes())),
		add:     make([][]element, len(shapes())),
	}
	for i, shape := range shapes() {
		var want []element
		for _, r := range rules {
			if shape.holds(r) {
				want = append(want, element{key: shape.key(r), mark: r.Mark})
			}
		}
		slices.SortFunc(want, compareElements)
		if p.rebuild {
			p.add[i] = want
			continue
		}
		p.remove[i] = without(s.maps[i].elements, want)
		p.add[i] = without(want, s.maps[i].elements)
	}
	return p
}

// without gives the elements of a that b lacks or has with another mark. Both are sorted.
func without(a, b []element) []element {
	var rest []element
	for _, e := range a {
		i, same := slices.BinarySearchFunc(b, e, compareElements)
		if !same || b[i].mark != e.mark {
			rest = append(rest, e)
		}
	}
	return rest
}

func setElements(elements []element, withMarks bool) []nftables.SetElement {
	var set []nftables.SetElement
	for _, e := range elements {
		entry := nftables.SetElement{Key: e.key}
		if withMarks {
			entry.Val = binary.NativeEndian.AppendUint32(nil, uint32(e.mark))
		}
		set = append(set, entry)
	}
	return set
}
