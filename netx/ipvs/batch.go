package ipvs

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	// batchSize is how many messages go to the kernel at once. Each that fails is answered, so that many answers have to fit
	// into the socket's buffer; beyond a hundred nothing is gained.
	batchSize = 100

	// tries is how often a put changes between editing and adding before it gives up.
	tries = 4
)

// attempt is a change on its way to the kernel, which keeps adding and editing apart.
type attempt struct {
	Change
	at  int  // among the changes that were asked for
	add bool // add what is put; otherwise edit it
}

// missing is what the kernel answers to an edit of what is not there.
func (a attempt) missing() unix.Errno {
	if a.ofService() {
		return unix.ESRCH
	}
	return unix.ENOENT
}

// inOrder applies the changes, batch by batch, so that the outcome is that of one after the other. It gives the kernel's bare errors.
func inOrder(ctx context.Context, changes []Change, exchange func([]attempt) []error) []error {
	errs := make([]error, len(changes))
	batch := make([]attempt, 0, min(batchSize, len(changes)))
	for i, c := range changes {
		if errs[i] = ctx.Err(); errs[i] != nil {
			continue
		}
		if c, errs[i] = c.checked(); errs[i] != nil {
			continue
		}
		if len(batch) == batchSize || meets(batch, &c) {
			settle(batch, errs, exchange)
			batch = batch[:0]
		}
		batch = append(batch, attempt{Change: c, at: i, add: c.AssumeNew && !c.MustExist})
	}
	settle(batch, errs, exchange)
	return errs
}

// meets tells whether a change may not be in this batch: a put there may be tried again after what follows it, so nothing that follows may be
// about the same destination, or be a change to the same service. Going through the batch takes less time than keeping a map of it.
func meets(batch []attempt, c *Change) bool {
	for i := range batch {
		if b := &batch[i].Change; b.service.Key == c.service.Key && (c.ofService() ||
			b.destination.Address == c.destination.Address && b.destination.Port == c.destination.Port && !b.ofService()) {
			return true
		}
	}
	return false
}

// settle sends a batch and once more what has to be added where it was edited, or the other way round. Another program
// may add or remove in between, so it looks a few times before it gives up.
func settle(batch []attempt, errs []error, exchange func([]attempt) []error) {
	var last []error
	for range tries {
		if len(batch) == 0 {
			return
		}
		answers := exchange(batch)
		var again []attempt
		last = last[:0]
		var late map[Key]bool // services that come to be only in the next round, and their destinations after them
		for i := range batch {
			if answers[i] == nil {
				continue
			}
			a := batch[i]
			puts := !a.MustExist && (a.verb == opPutService || a.verb == opPutDestination)
			switch err := answers[i]; {
			case puts && !a.add && errors.Is(err, a.missing()), puts && a.add && errors.Is(err, unix.EEXIST):
				a.add = !a.add
				if a.ofService() {
					late = put(late, a.service.Key)
				}
			case late[a.service.Key] && errors.Is(err, unix.ESRCH):
			default:
				errs[a.at] = err
				continue
			}
			again, last = append(again, a), append(last, answers[i])
		}
		batch = again
	}
	for i, a := range batch {
		errs[a.at] = fmt.Errorf("another program adds and removes it all the time: %w", last[i])
	}
}

// put adds a key to a set, which may be nil.
func put(set map[Key]bool, k Key) map[Key]bool {
	if set == nil {
		set = map[Key]bool{}
	}
	set[k] = true
	return set
}
