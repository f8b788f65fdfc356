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

// Memory is a Table in memory that answers as the kernel does. For tests.
type Memory struct {
	mu       sync.Mutex // protects all below
	services []Service  // sorted, as are their destinations
	daemons  []Daemon   // sorted
	calls    []Call
	fault    func(Call) error
	closed   bool
}

// Call is one operation that was asked of a Memory, successful or not.
type Call struct {
	Number    int    // counts from 1
	Operation string // "dump", "put service", "delete service", "put destination", "delete destination", "list daemons", "start daemon", "stop daemon"
	Key       Key
	Address   netip.Addr // of a destination's operation
	Port      uint16
}

// NewMemory gives an empty table.
func NewMemory() *Memory {
	return &Memory{}
}

// Seed puts services into the table as somebody else would have, with their destinations and connection counts; one that
// is there is replaced whole. It is no Call and checks nothing.
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

// SetConns sets what the kernel would count for a destination. It is no Call.
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

// SetFault has every Call answered by fault first: what it returns, unless nil, is the Call's error (wrapped as the
// kernel's would be) and nothing is changed. A nil fault takes it away.
func (m *Memory) SetFault(fault func(Call) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = fault
}

// FailCall makes the n-th Call from now, counting from 1, fail with err. It replaces SetFault.
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

// Calls gives every Call so far.
func (m *Memory) Calls() []Call {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.calls)
}

// Dump implements Table.
func (m *Memory) Dump(ctx context.Context) ([]Service, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.enter(ctx, operation{verb: opDump}); err != nil {
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
		if errs[i] = m.enter(ctx, c.operation()); errs[i] != nil {
			continue
		}
		checked, err := c.checked()
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

// putService has the service keep the destinations of its predecessor, if there is one.
func (m *Memory) putService(s Service, old *Service) error {
	if !slices.Contains(schedulers(), s.Scheduler) {
		return noScheduler(s.Scheduler)
	}
	s = s.Canonical()
	if old != nil {
		s.Destinations = old.Destinations
	}
	m.insert(s)
	return nil
}

// putDestination adds a destination, or edits it; edit: only the latter.
func (m *Memory) putDestination(s *Service, d Destination, edit bool) error {
	if old, err := m.destination(s.Key, d.Address, d.Port); err == nil {
		d.ActiveConns, d.InactiveConns, d.Stats = old.ActiveConns, old.InactiveConns, old.Stats
		*old = d
		return nil
	}
	if len(m.daemons) > 0 && FamilyOf(d.Address) != s.Family {
		return errMixed()
	}
	if edit {
		return ErrNoDestination
	}
	if !unicast(d.Address) {
		return fmt.Errorf("%w: %s is not the address of one host", ErrInvalid, d.Address)
	}
	s.Destinations = append(s.Destinations, d)
	sortDestinations(s.Destinations)
	return nil
}

// Close implements Table. What comes after it fails with net.ErrClosed, as with the kernel's handle.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

// enter begins every Call: it is noted, then may be refused. The caller holds mu.
func (m *Memory) enter(ctx context.Context, op operation) error {
	return op.wrap(m.note(ctx, Call{Operation: op.verb, Key: op.key, Address: op.address, Port: op.port}))
}

// note keeps a Call, and gives the error of one that is refused. The caller holds mu.
func (m *Memory) note(ctx context.Context, call Call) error {
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

// unicast follows __ip_vs_new_dest, as far as that can be known without a routing table.
func unicast(a netip.Addr) bool {
	if a.Is4() {
		return !a.IsUnspecified() && !a.IsMulticast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
	}
	return !a.IsUnspecified() && !a.IsMulticast() && !a.IsLinkLocalUnicast()
}

// schedulers are those of Debian's Linux 6.1, and "none", which forwards nothing.
func schedulers() []string {
	return []string{
		"dh", "fo", "lblc", "lblcr", "lc", "mh", "none", "nq", "ovf", "rr", "sed", "sh", "wlc", "wrr",
	}
}
