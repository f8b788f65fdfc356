package mark

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/google/nftables"

	"github.com/braintree/lb/netx/ipvs"
)

// elementsPerMessage keeps a message below its limit of 64 KiB, which is about 700 elements of the largest kind.
const elementsPerMessage = 500

// element is one map entry.
type element struct {
	key  []byte
	mark ipvs.Mark
}

func compareElements(a, b element) int {
	return bytes.Compare(a.key, b.key)
}

// plan turns the kernel's state into the desired one in one transaction, with as few changes as possible: packets
// always find an element that stays. A packet can miss a recreated element at the instant of the transaction: on Linux
// 6.1, one packet in 220,000 of a flood while the whole table was recreated fifteen times.
type plan struct {
	rebuild bool // recreate the table with all its contents
	rewrite bool // rewrite the chain's rules
	counted bool // count what the rules mark
	maps    []mapChange
	sets    []mapChange  // of counters; none if not counted
	arrival arrivalState // the chain that counts what arrives
}

// mapChange is the change to one map or set.
type mapChange struct {
	spec        setSpec
	replace     bool // recreate the map, which is missing or invalid
	present     bool // the map to be replaced exists
	remove, add []element
	desired     []element // all elements, for a recreated map
}

func (p plan) empty() bool {
	return !p.rebuild && !p.rewrite && !(p.counted && p.arrival != arrivalState{true, true, true}) &&
		!slices.ContainsFunc(slices.Concat(p.maps, p.sets), func(c mapChange) bool {
			return c.replace || len(c.remove) > 0 || len(c.add) > 0
		})
}

// build puts the plan's messages into a transaction.
func (p plan) build(c *nftables.Conn) error {
	replaces := func(m mapChange) bool { return m.replace }
	rules := p.rebuild || p.rewrite || slices.ContainsFunc(slices.Concat(p.maps, p.sets), replaces)
	counts := p.counted && (rules || p.arrival != arrivalState{true, true, true})
	switch {
	case p.rebuild:
		c.AddTable(table()) // so that there is a table to delete
		c.DelTable(table())
		c.AddTable(table())
		c.AddChain(chain())
	case rules:
		c.FlushChain(chain()) // a map that a rule references cannot be deleted
	}
	if counts {
		p.buildArrival(c)
	}
	for _, m := range slices.Concat(p.maps, p.sets) {
		if err := m.build(c, p.rebuild); err != nil {
			return fmt.Errorf("map %s: %w", m.spec.setName(), err)
		}
	}
	if rules {
		p.addRules(c)
	}
	if counts {
		for _, r := range countSpecs()[1].rules() {
			c.AddRule(r)
		}
	}
	return nil
}

// buildArrival makes the chain that counts what arrives, without rules.
func (p plan) buildArrival(c *nftables.Conn) {
	if p.rebuild || !p.arrival.present {
		c.AddChain(arrivalChain())
		return
	}
	c.FlushChain(arrivalChain())
	if !p.arrival.valid {
		c.DelChain(arrivalChain())
		c.AddChain(arrivalChain())
	}
}

// addRules adds the rules of the chain that marks.
func (p plan) addRules(c *nftables.Conn) {
	for i, spec := range mapSpecs() {
		if len(p.maps[i].desired) > 0 {
			c.AddRule(spec.rule(checkLast))
		}
	}
	if p.counted {
		for _, r := range countSpecs()[0].rules() {
			c.AddRule(r)
		}
	}
}

func (m mapChange) build(c *nftables.Conn, rebuild bool) error {
	set, err := m.spec.set()
	if err != nil {
		return err
	}
	remove, add := m.remove, m.add
	if rebuild || m.replace {
		if m.present && !rebuild {
			c.DelSet(set)
		}
		if err := c.AddSet(set, nil); err != nil {
			return err
		}
		remove, add = nil, m.desired
	} else {
		set.ID = 0 // the ID is for sets created in this transaction; this one exists
	}
	// Remove before adding: a changed mark needs both, and the kernel rejects a second mark for a key.
	for part := range slices.Chunk(remove, elementsPerMessage) {
		if err := c.SetDeleteElements(set, setElements(set, part, false)); err != nil {
			return err
		}
	}
	for part := range slices.Chunk(add, elementsPerMessage) {
		if err := c.SetAddElements(set, setElements(set, part, true)); err != nil {
			return err
		}
	}
	return nil
}

func setElements(of *nftables.Set, elements []element, withMarks bool) []nftables.SetElement {
	var set []nftables.SetElement
	for _, e := range elements {
		entry := nftables.SetElement{Key: e.key}
		if withMarks && of.IsMap {
			entry.Val = binary.NativeEndian.AppendUint32(nil, uint32(e.mark))
		}
		set = append(set, entry)
	}
	return set
}
