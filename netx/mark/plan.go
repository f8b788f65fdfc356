package mark

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/google/nftables"

	"github.com/braintree/lb/netx/ipvs"
)

// chunk is how many elements go into one message, which holds 64 KiB: some 700 of the largest kind.
const elementsPerMessage = 500

// element is one entry of a map.
type element struct {
	key  []byte
	mark ipvs.Mark
}

func compareElements(a, b element) int {
	return bytes.Compare(a.key, b.key)
}

// plan is what makes the kernel's state the wanted one, in one transaction, and with as little as will do: an element that stays is
// found by every packet meanwhile. One that is made anew can be missed by a packet in the instant the transaction is applied:
// on Linux 6.1, one of 220000 in a flood while the whole table was made anew fifteen times.
type plan struct {
	rebuild bool // the table, with all that is in it
	rewrite bool // the chain's rules
	maps    []mapChange
}

// change is what is done to one map.
type mapChange struct {
	spec        mapSpec
	replace     bool // the map itself, since it is missing or not as it should be
	present     bool // there is one to be replaced
	remove, add []element
	desired     []element // all, for a map made anew
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
		c.AddTable(table()) // so that there is one to delete
		c.DelTable(table())
		c.AddTable(table())
		c.AddChain(chain())
	case rules:
		c.FlushChain(chain()) // a map that a rule looks into cannot be deleted
	}
	for _, m := range p.maps {
		if err := m.build(c, p.rebuild); err != nil {
			return fmt.Errorf("map %s: %w", m.spec.name, err)
		}
	}
	if rules {
		for _, m := range p.maps {
			c.AddRule(m.spec.rule())
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
		set.ID = 0 // of a set made in this transaction; this one is in the kernel
	}
	// Removed before added, for a changed mark is both, and the kernel refuses a second mark for a key.
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
