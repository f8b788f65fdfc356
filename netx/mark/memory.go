package mark

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// Memory is an in-memory Table that behaves like the kernel's, for tests and previews.
type Memory struct {
	mu       sync.Mutex // protects all fields below
	rules    []Rule     // sorted
	writes   int
	watchers map[*func()]struct{} // functions that Watch was given
	counts   []Count              // sorted
	fault    func(operation string) error
}

// NewMemory returns an empty table.
func NewMemory() *Memory {
	return &Memory{}
}

// SetFault calls fault before each operation ("list marks", "set marks", "remove marks",
// "watch marks" or "count marks"). An error that it returns
// becomes the operation's error, and nothing is changed. nil removes the fault.
func (m *Memory) SetFault(fault func(operation string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = fault
}

// Disturb replaces the rules as another program would.
func (m *Memory) Disturb(rules ...Rule) {
	m.mu.Lock()
	m.rules = slices.SortedFunc(slices.Values(rules), compareRules)
	watchers := slices.Collect(maps.Keys(m.watchers))
	m.mu.Unlock()
	for _, changed := range watchers {
		(*changed)()
	}
}

// SetCounts sets what Counts returns.
func (m *Memory) SetCounts(counts ...Count) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts = slices.SortedFunc(slices.Values(counts), compareCounts)
}

// Counts implements Table.
func (m *Memory) Counts(ctx context.Context) ([]Count, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.begin(ctx, opCount); err != nil {
		return nil, err
	}
	return slices.Clone(m.counts), nil
}

// Watch implements Table.
func (m *Memory) Watch(ctx context.Context, changed func()) error {
	m.mu.Lock()
	err := m.begin(ctx, opWatch)
	if err == nil {
		if m.watchers == nil {
			m.watchers = map[*func()]struct{}{}
		}
		m.watchers[&changed] = struct{}{}
	}
	m.mu.Unlock()
	if err != nil {
		return err
	}
	changed()
	<-ctx.Done()
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.watchers, &changed)
	return nil
}

// Writes implements Table.
func (m *Memory) Writes() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.writes
}

// List implements Table.
func (m *Memory) List(ctx context.Context) ([]Rule, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.begin(ctx, opList); err != nil {
		return nil, err
	}
	return slices.Clone(m.rules), nil
}

// Set implements Table.
func (m *Memory) Set(ctx context.Context, rules []Rule) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.begin(ctx, opSet); err != nil {
		return err
	}
	rules, err := normalize(rules)
	if err != nil {
		return fmt.Errorf("%s: %w", opSet, err)
	}
	if !slices.Equal(rules, m.rules) {
		m.rules = rules
		m.writes++
	}
	return nil
}

// Remove implements Table.
func (m *Memory) Remove(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.begin(ctx, opRemove); err != nil {
		return err
	}
	if m.rules != nil {
		m.rules = nil
		m.writes++
	}
	return nil
}

// The operations, as named in errors.
const (
	opList   = "list marks"
	opSet    = "set marks"
	opRemove = "remove marks"
	opWatch  = "watch marks"
	opCount  = "count marks"

	opInspect = "inspect marks"
)

// begin starts an operation and returns its error, if it is to fail. The caller holds mu.
func (m *Memory) begin(ctx context.Context, operation string) error {
	err := ctx.Err()
	if err == nil && m.fault != nil {
		err = m.fault(operation)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	return nil
}
