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
	maps    []mapChange
}

// mapChange is the change to one map.
type mapChange struct {
	spec        mapSpec
	replace     bool // recreate the map, which is missing or invalid
	present     bool // the map to be replaced exists
	remove, add []element
	desired     []element // all elements, for a recreated map
}

func (p plan) empty() bool {
	return !p.rebuild && !p.rewrite &&
		!slices.ContainsFunc(p.maps, func(c mapChange) bool { return c.replace || len(c.remove) > 0 || len(c.add) > 0 })
}

// build puts the plan's messages into a transaction.
func (p plan) build(c *nftables.Conn) error {
	rules := p.rebuild || p.rewrite || slices.ContainsFunc(p.maps, func(m mapChange) bool { return m.replace })
	switch {
	case p.rebuild:
		c.AddTable(table()) // so that there is a table to delete
		c.DelTable(table())
		c.AddTable(table())
		c.AddChain(chain())
	case rules:
		c.FlushChain(chain()) // a map that a rule references cannot be deleted
	}
	for _, m := range p.maps {
		if err := m.build(c, p.rebuild); err != nil {
			return fmt.Errorf("map %s: %w", m.spec.name, err)
		}
	}
	if rules {
		for _, m := range p.maps {
			c.AddRule(m.spec.rule(checkLast))
		}
	}
	return nil
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
		if err := c.SetDeleteElements(set, setElements(part, false)); err != nil {
			return err
		}
	}
	for part := range slices.Chunk(add, elementsPerMessage) {
		if err := c.SetAddElements(set, setElements(part, true)); err != nil {
			return err
		}
	}
	return nil
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
