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
	maxAttempts = 4
)

// attempt is a change on its way to the kernel, which keeps adding and editing apart.
type attempt struct {
	Change
	index int  // among the changes that were asked for
	add   bool // add what is put; otherwise edit it
}

// missing is what the kernel answers to an edit of what is not there.
func (a attempt) notFoundErrno() unix.Errno {
	if a.isServiceChange() {
		return unix.ESRCH
	}
	return unix.ENOENT
}

// inOrder applies the changes, batch by batch, so that the outcome is that of one after the other. It gives the kernel's bare errors.
func applyInOrder(ctx context.Context, changes []Change, exchange func([]attempt) []error) []error {
	errs := make([]error, len(changes))
	batch := make([]attempt, 0, min(batchSize, len(changes)))
	for i, c := range changes {
		if errs[i] = ctx.Err(); errs[i] != nil {
			continue
		}
		if c, errs[i] = c.validated(); errs[i] != nil {
			continue
		}
		if len(batch) == batchSize || conflicts(batch, &c) {
			sendBatch(batch, errs, exchange)
			batch = batch[:0]
		}
		batch = append(batch, attempt{Change: c, index: i, add: c.AssumeNew && !c.MustExist})
	}
	sendBatch(batch, errs, exchange)
	return errs
}

// meets tells whether a change may not be in this batch: a put there may be tried again after what follows it, so nothing that follows may be
// about the same destination, or be a change to the same service. Going through the batch takes less time than keeping a map of it.
func conflicts(batch []attempt, c *Change) bool {
	for i := range batch {
		if b := &batch[i].Change; b.service.Key == c.service.Key && (c.isServiceChange() ||
			b.destination.Address == c.destination.Address && b.destination.Port == c.destination.Port && !b.isServiceChange()) {
			return true
		}
	}
	return false
}

// settle sends a batch and once more what has to be added where it was edited, or the other way round. Another program
// may add or remove in between, so it looks a few times before it gives up.
func sendBatch(batch []attempt, errs []error, exchange func([]attempt) []error) {
	var last []error
	for range maxAttempts {
		if len(batch) == 0 {
			return
		}
		results := exchange(batch)
		var retry []attempt
		last = last[:0]
		var deferred map[Key]bool // services that come to be only in the next round, and their destinations after them
		for i := range batch {
			if results[i] == nil {
				continue
			}
			a := batch[i]
			isPut := !a.MustExist && (a.verb == opPutService || a.verb == opPutDestination)
			switch err := results[i]; {
			case isPut && !a.add && errors.Is(err, a.notFoundErrno()), isPut && a.add && errors.Is(err, unix.EEXIST):
				a.add = !a.add
				if a.isServiceChange() {
					deferred = addKey(deferred, a.service.Key)
				}
			case deferred[a.service.Key] && errors.Is(err, unix.ESRCH):
			default:
				errs[a.index] = err
				continue
			}
			retry, last = append(retry, a), append(last, results[i])
		}
		batch = retry
	}
	for i, a := range batch {
		errs[a.index] = fmt.Errorf("another program adds and removes it all the time: %w", last[i])
	}
}

// put adds a key to a set, which may be nil.
func addKey(set map[Key]bool, k Key) map[Key]bool {
	if set == nil {
		set = map[Key]bool{}
	}
	set[k] = true
	return set
}
