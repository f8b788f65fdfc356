package ipvs

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	// batchSize is the number of messages per system call. The responses to failed ones must fit into the socket's
	// receive buffer; beyond 100 nothing is gained.
	batchSize = 100

	// maxAttempts is how often a put switches between add and edit before it gives up.
	maxAttempts = 4
)

// attempt is a change on its way to the kernel, which distinguishes add from edit.
type attempt struct {
	Change
	index int  // in the caller's changes
	add   bool // of a put: add instead of edit
}

// notFoundErrno is the kernel's response to an edit of what does not exist.
func (a attempt) notFoundErrno() unix.Errno {
	if a.isServiceChange() {
		return unix.ESRCH
	}
	return unix.ENOENT
}

// applyInOrder applies the changes in batches, with the same outcome as one by one. It returns the kernel's bare
// errnos.
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

// conflicts reports whether a change must not join this batch. A put in the batch may be retried after the changes
// behind it, so none of those may concern the same destination, or change the same service. A linear scan is faster
// than keeping a map.
func conflicts(batch []attempt, c *Change) bool {
	for i := range batch {
		if b := &batch[i].Change; b.service.Key == c.service.Key && (c.isServiceChange() ||
			b.destination.Address == c.destination.Address && b.destination.Port == c.destination.Port && !b.isServiceChange()) {
			return true
		}
	}
	return false
}

// sendBatch sends a batch and retries each put that has to be added instead of edited, or vice versa. Another program
// may add or remove entries in between, so it retries a few times.
func sendBatch(batch []attempt, errs []error, exchange func([]attempt) []error) {
	var last []error
	for range maxAttempts {
		if len(batch) == 0 {
			return
		}
		results := exchange(batch)
		var retry []attempt
		last = last[:0]
		var deferred map[Key]bool // services to be added in the next round; their destinations must follow
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
		errs[a.index] = fmt.Errorf("another program keeps adding and removing it: %w", last[i])
	}
}

// addKey adds a key to a set, which may be nil.
func addKey(set map[Key]bool, k Key) map[Key]bool {
	if set == nil {
		set = map[Key]bool{}
	}
	set[k] = true
	return set
}
