package ipvs

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

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
	var batch []attempt
	touched := map[Key]bool{}      // by what is in the batch
	objects := map[objectID]bool{} // its destinations
	flush := func() {
		settle(batch, errs, exchange)
		batch = batch[:0]
		clear(touched)
		clear(objects)
	}
	for i, c := range changes {
		if errs[i] = ctx.Err(); errs[i] != nil {
			continue
		}
		c, err := c.checked()
		if err != nil {
			errs[i] = err
			continue
		}
		key, id := c.service.Key, objectID{c.service.Key, c.destination.Address, c.destination.Port}
		// Within a batch a put may be tried again later than what follows it: nothing that follows may be about the same thing.
		if len(batch) == batchSize || c.ofService() && touched[key] || objects[id] {
			flush()
		}
		touched[key] = true
		if !c.ofService() {
			objects[id] = true
		}
		batch = append(batch, attempt{Change: c, at: i, add: c.New})
	}
	flush()
	return errs
}

// objectID names a destination.
type objectID struct {
	key     Key
	address netip.Addr
	port    uint16
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
		late := map[Key]bool{} // services that come to be only in the next round, and their destinations after them
		for i, a := range batch {
			put := a.verb == opPutService || a.verb == opPutDestination
			switch err := answers[i]; {
			case put && !a.add && errors.Is(err, a.missing()), put && a.add && errors.Is(err, unix.EEXIST):
				a.add = !a.add
				late[a.service.Key] = late[a.service.Key] || a.ofService()
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
