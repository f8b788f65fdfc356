package ipvs

import (
	"context"
	"net/netip"
)

// Change is one change to a Table. PutService, PutDestination, DeleteService and DeleteDestination make one.
type Change struct {
	// New says that what is put is not thought to be there yet. A wrong guess, either way, costs messages to the kernel and
	// changes nothing else.
	AssumeNew bool
	// Edit says that what is put has to be there: where it is not, ErrNoDestination or ErrNoService is the outcome, and nothing is added.
	MustExist bool

	verb        string // one of the operations
	service     Service
	destination Destination
}

// PutService creates the service or edits it in place: scheduler, flags and timeout. Its Destinations are ignored;
// those in the kernel stay, and so do their connections.
func PutService(s Service) Change {
	s.Destinations = nil
	return Change{verb: opPutService, service: s}
}

// DeleteService removes the service and its destinations; ErrNoService where there is none.
func DeleteService(k Key) Change {
	return Change{verb: opDeleteService, service: Service{Key: k}}
}

// PutDestination adds the destination or edits it in place: forwarding, weight, thresholds. ErrNoService where there is no service.
func PutDestination(k Key, d Destination) Change {
	d.ActiveConns, d.InactiveConns, d.Stats = 0, 0, Stats{}
	return Change{verb: opPutDestination, service: Service{Key: k}, destination: d}
}

// DeleteDestination removes one; ErrNoService or ErrNoDestination where there is none.
func DeleteDestination(k Key, address netip.Addr, port uint16) Change {
	return Change{verb: opDeleteDestination, service: Service{Key: k}, destination: Destination{Address: address, Port: port}}
}

// One applies a single change.
func ApplyOne(ctx context.Context, t Table, c Change) error { return t.Apply(ctx, []Change{c})[0] }

// ofService tells whether the change is to a service and not to a destination.
func (c *Change) ofService() bool { return c.verb == opPutService || c.verb == opDeleteService }

func (c Change) operation() operation {
	return operation{verb: c.verb, key: c.service.Key, address: c.destination.Address, port: c.destination.Port}
}

// checked refuses what the kernel would refuse with a bare errno or take for something else, and gives the change with
// its address as the kernel will have it.
func (c Change) checked() (Change, error) {
	if c.verb == opPutService {
		return c, checkService(c.service)
	}
	if err := checkKey(c.service.Key); err != nil || c.ofService() {
		return c, err
	}
	var err error
	if c.destination.Address, err = checkAddress(c.destination.Address); err != nil {
		return c, err
	}
	if c.verb == opPutDestination {
		err = checkDestination(c.service.Key, c.destination)
	}
	return c, err
}

// failAll gives each change the same error.
func failAll(changes []Change, err error) []error {
	errs := make([]error, len(changes))
	for i, c := range changes {
		errs[i] = c.operation().wrap(err)
	}
	return errs
}
