package ocf

import (
	"slices"

	"github.com/braintree/lb/config/salvage"
	"github.com/braintree/lb/netx/ipvs"
)

// marks returns the marks that the cluster may have in the kernel: the configuration's, as far as it can be read, lb balance's (0:
// unknown), and the recorded one unless the cluster was stopped or the mark belongs to another cluster now.
func (r resource) marks(found salvage.Found, daemon uint32) []ipvs.Mark {
	candidates := []uint32{found.Marks[r.cluster], daemon}
	if rec, ok := r.loadRecord(); ok && !rec.stopped && !r.belongsToAnother(found, rec.mark) {
		candidates = append(candidates, rec.mark)
	}
	return distinct(candidates)
}

// relayMarks returns the marks that the cluster's relay may have in the kernel, from the same sources as marks.
func (r resource) relayMarks(found salvage.Found, daemon uint32) []ipvs.Mark {
	candidates := []uint32{found.Relays[r.cluster], daemon}
	if rec, ok := r.loadRecord(); ok && !rec.stopped && !r.belongsToAnother(found, rec.relay) {
		candidates = append(candidates, rec.relay)
	}
	return distinct(candidates)
}

// distinct returns the marks in their order, each once and without 0.
func distinct(candidates []uint32) []ipvs.Mark {
	var marks []ipvs.Mark
	for _, mark := range candidates {
		if mark != 0 && !slices.Contains(marks, ipvs.Mark(mark)) {
			marks = append(marks, ipvs.Mark(mark))
		}
	}
	return marks
}

// belongsToAnother reports whether the configuration gives the mark to another cluster or its relay.
func (r resource) belongsToAnother(found salvage.Found, mark uint32) bool {
	for _, marks := range []map[string]uint32{found.Marks, found.Relays} {
		for cluster, m := range marks {
			if m == mark && cluster != r.cluster {
				return true
			}
		}
	}
	return false
}
