package schedule

import (
	"hash/fnv"
	"time"
)

// phaseStep is the granularity of phases. Checks that run at the same moment wake the processor once, and a
// wake-up costs as much as a short check.
const phaseStep = 200 * time.Millisecond

// phase derives a check's offset within its interval from a hash of its identity, so that neither the checks
// of one machine nor a fleet started at the same moment run in lockstep. It is a multiple of phaseStep if the
// interval has room for five steps.
func phase(interval time.Duration, identity ...string) time.Duration {
	h := fnv.New64a()
	for _, s := range identity {
		h.Write([]byte(s)) // a hash never fails
		h.Write([]byte{0})
	}
	p := 1 + time.Duration(h.Sum64()%uint64(interval))
	if interval < 5*phaseStep {
		return p
	}
	return min(interval, (p + phaseStep - 1).Truncate(phaseStep))
}
