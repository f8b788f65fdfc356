package ipvs

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
)

// Memory is an in-memory Table that behaves like the kernel's, for tests and previews.
type Memory struct {
	mu       sync.Mutex // protects all fields below
	services []Service  // sorted, with sorted destinations
	daemons  []Daemon   // sorted
	timeouts Timeouts
	calls    []Call
	fault    func(Call) error
	closed   bool
}

// Call is one operation on a Memory, successful or not.
type Call struct {
	Number int // starts at 1
	// "dump", "put service", "delete service", "put destination", "delete destination", "list daemons", "start daemon",
	// "stop daemon", "read timeouts" or "set timeouts".
	Operation string
	Key       Key
	Address   netip.Addr // of a destination operation
	Port      uint16
}

// NewMemory returns an empty table.
func NewMemory() *Memory {
	return &Memory{timeouts: DefaultTimeouts()}
}

// Seed adds or replaces services as another program would, with destinations and connection counts. It is not a Call
// and validates nothing.
func (m *Memory) Seed(services ...Service) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range services {
		s.Destinations = slices.Clone(s.Destinations)
		for i, d := range s.Destinations {
			s.Destinations[i].Address = d.Address.Unmap()
		}
		sortDestinations(s.Destinations)
		m.insert(s)
	}
}

// SetConns sets the kernel's connection counts of a destination. It is not a Call.
func (m *Memory) SetConns(k Key, address netip.Addr, port uint16, active, inactive int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, err := m.destination(k, address.Unmap(), port)
	if err != nil {
		return operation{verb: "set connections", key: k, address: address, port: port}.wrap(err)
	}
	d.ActiveConns, d.InactiveConns = active, inactive
	return nil
}

// SetFault calls fault before each Call. An error that it returns becomes the Call's error, wrapped as the kernel's
// would be, and nothing is changed. nil removes the fault.
func (m *Memory) SetFault(fault func(Call) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = fault
}

// FailCall makes the n-th Call from now fail with err, counting from 1. It replaces SetFault.
func (m *Memory) FailCall(n int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	failing := len(m.calls) + n
	m.fault = func(c Call) error {
		if c.Number == failing {
			return err
		}
		return nil
	}
}

// Calls returns all Calls so far.
func (m *Memory) Calls() []Call {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.calls)
}

// Dump implements Table.
func (m *Memory) Dump(ctx context.Context) ([]Service, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.begin(ctx, operation{verb: opDump}); err != nil {
		return nil, err
	}
	services := slices.Clone(m.services)
	for i, s := range services {
		services[i].Destinations = slices.Clone(s.Destinations)
	}
	return services, nil
}

// Apply implements Table. Each change is a Call.
func (m *Memory) Apply(ctx context.Context, changes []Change) []error {
	m.mu.Lock()
	defer m.mu.Unlock()
	errs := make([]error, len(changes))
	for i, c := range changes {
		if errs[i] = m.begin(ctx, c.operation()); errs[i] != nil {
			continue
		}
		checked, err := c.validated()
		if err == nil {
			err = m.change(checked)
		}
		errs[i] = c.operation().wrap(err)
	}
	return errs
}

// change makes one change. The caller holds mu.
func (m *Memory) change(c Change) error {
	k := c.service.Key
	s := m.service(k)
	switch {
	case c.verb == opPutService && (s != nil || !c.MustExist):
		return m.putService(c.service, s)
	case s == nil:
		return ErrNoService
	case c.verb == opDeleteService:
		m.services = slices.DeleteFunc(m.services, func(s Service) bool { return s.Key == k })
		return nil
	case c.verb == opPutDestination:
		return m.putDestination(s, c.destination, c.MustExist)
	}
	address, port := c.destination.Address, c.destination.Port
	if _, err := m.destination(k, address, port); err != nil {
		return err
	}
	s.Destinations = slices.DeleteFunc(s.Destinations, func(d Destination) bool { return d.Address == address && d.Port == port })
	return nil
}

// putService adds or replaces the service; destinations of the old one stay.
func (m *Memory) putService(s Service, old *Service) error {
	if !slices.Contains(knownSchedulers(), s.Scheduler) {
		return schedulerError(s.Scheduler)
	}
	s = s.Canonical()
	if old != nil {
		s.Destinations = old.Destinations
	}
	m.insert(s)
	return nil
}

// putDestination edits a destination, or adds it unless edit is true.
func (m *Memory) putDestination(s *Service, d Destination, edit bool) error {
	if old, err := m.destination(s.Key, d.Address, d.Port); err == nil {
		d.ActiveConns, d.InactiveConns, d.Stats = old.ActiveConns, old.InactiveConns, old.Stats
		*old = d
		return nil
	}
	if len(m.daemons) > 0 && FamilyOf(d.Address) != s.Family {
		return errMixedFamilies()
	}
	if edit {
		return ErrNoDestination
	}
	if !isUnicast(d.Address) {
		return fmt.Errorf("%w: %s is not a unicast address", ErrInvalid, d.Address)
	}
	s.Destinations = append(s.Destinations, d)
	sortDestinations(s.Destinations)
	return nil
}

// Close implements Table. Later calls fail with net.ErrClosed, as with the kernel's handle.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

// begin starts a Call and returns its error, if it is to fail. The caller holds mu.
func (m *Memory) begin(ctx context.Context, op operation) error {
	return op.wrap(m.recordCall(ctx, Call{Operation: op.verb, Key: op.key, Address: op.address, Port: op.port}))
}

// recordCall records a Call and returns its error, if it is to fail. The caller holds mu.
func (m *Memory) recordCall(ctx context.Context, call Call) error {
	call.Number = len(m.calls) + 1
	m.calls = append(m.calls, call)
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.closed {
		return net.ErrClosed
	}
	if m.fault != nil {
		return m.fault(call)
	}
	return nil
}

func (m *Memory) service(k Key) *Service {
	i, found := slices.BinarySearchFunc(m.services, k, func(s Service, k Key) int { return compareKeys(s.Key, k) })
	if !found {
		return nil
	}
	return &m.services[i]
}

func (m *Memory) insert(s Service) {
	i, found := slices.BinarySearchFunc(m.services, s.Key, func(o Service, k Key) int { return compareKeys(o.Key, k) })
	if found {
		m.services[i] = s
		return
	}
	m.services = slices.Insert(m.services, i, s)
}

func (m *Memory) destination(k Key, address netip.Addr, port uint16) (*Destination, error) {
	s := m.service(k)
	if s == nil {
		return nil, ErrNoService
	}
	for i, d := range s.Destinations {
		if d.Address == address && d.Port == port {
			return &s.Destinations[i], nil
		}
	}
	return nil, ErrNoDestination
}

func compareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Mark, b.Mark), cmp.Compare(a.Family, b.Family))
}

func sortDestinations(ds []Destination) {
	slices.SortFunc(ds, func(a, b Destination) int {
		return cmp.Or(a.Address.Compare(b.Address), cmp.Compare(a.Port, b.Port))
	})
}

// isUnicast follows the kernel's __ip_vs_new_dest as far as possible without a routing table.
func isUnicast(a netip.Addr) bool {
	if a.Is4() {
		return !a.IsUnspecified() && !a.IsMulticast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
	}
	return !a.IsUnspecified() && !a.IsMulticast() && !a.IsLinkLocalUnicast()
}

// knownSchedulers returns the schedulers of Debian's Linux 6.1, and "none", which forwards nothing.
func knownSchedulers() []string {
	return []string{
		"dh", "fo", "lblc", "lblcr", "lc", "mh", "none", "nq", "ovf", "rr", "sed", "sh", "wlc", "wrr",
	}
}
