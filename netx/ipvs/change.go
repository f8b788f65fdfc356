package ipvs

import (
	"context"
	"net/netip"
)

// Change is one change to a Table, made by PutService, PutDestination, DeleteService or DeleteDestination.
type Change struct {
	// AssumeNew is a hint that a put adds rather than edits. A wrong hint costs an extra message to the kernel, nothing
	// else.
	AssumeNew bool
	// MustExist makes a put edit only: if the object does not exist, nothing is added and the error is ErrNoDestination
	// or ErrNoService.
	MustExist bool

	verb        string // one of the operations
	service     Service
	destination Destination
}

// PutService adds the service or edits it in place: scheduler, flags and timeout. It ignores s.Destinations; the
// kernel's destinations stay, with their connections.
func PutService(s Service) Change {
	s.Destinations = nil
	return Change{verb: opPutService, service: s}
}

// DeleteService removes the service and its destinations; ErrNoService if it does not exist.
func DeleteService(k Key) Change {
	return Change{verb: opDeleteService, service: Service{Key: k}}
}

// PutDestination adds the destination or edits it in place: forwarding, weight, thresholds. ErrNoService if the service
// does not exist.
func PutDestination(k Key, d Destination) Change {
	d.ActiveConns, d.InactiveConns, d.Stats = 0, 0, Stats{}
	return Change{verb: opPutDestination, service: Service{Key: k}, destination: d}
}

// DeleteDestination removes a destination; ErrNoService or ErrNoDestination if it does not exist.
func DeleteDestination(k Key, address netip.Addr, port uint16) Change {
	return Change{verb: opDeleteDestination, service: Service{Key: k}, destination: Destination{Address: address, Port: port}}
}

// ApplyOne applies a single change.
func ApplyOne(ctx context.Context, t Table, c Change) error { return t.Apply(ctx, []Change{c})[0] }

// isServiceChange reports whether the change concerns a service rather than a destination.
func (c *Change) isServiceChange() bool { return c.verb == opPutService || c.verb == opDeleteService }

func (c Change) operation() operation {
	return operation{verb: c.verb, key: c.service.Key, address: c.destination.Address, port: c.destination.Port}
}

// validated rejects changes that the kernel would reject with a bare errno or misunderstand. It returns the change with
// its address in the kernel's form.
func (c Change) validated() (Change, error) {
	if c.verb == opPutService {
		return c, validateService(c.service)
	}
	if err := validateKey(c.service.Key); err != nil || c.isServiceChange() {
		return c, err
	}
	var err error
	if c.destination.Address, err = validateAddress(c.destination.Address); err != nil {
		return c, err
	}
	if c.verb == opPutDestination {
		err = validateDestination(c.service.Key, c.destination)
	}
	return c, err
}

// failAll returns the same error for each change.
func failAll(changes []Change, err error) []error {
	errs := make([]error, len(changes))
	for i, c := range changes {
		errs[i] = c.operation().wrap(err)
	}
	return errs
}
