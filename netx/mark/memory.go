package mark

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// Memory is an in-memory Table that behaves like the kernel's, for tests and previews.
type Memory struct {
	mu     sync.Mutex // protects all fields below
	rules  []Rule     // sorted
	writes int
	fault  func(operation string) error
}

// NewMemory returns an empty table.
func NewMemory() *Memory {
	return &Memory{}
}

// SetFault calls fault before each operation ("list marks", "set marks" or "remove marks"). An error that it returns
// becomes the operation's error, and nothing is changed. nil removes the fault.
func (m *Memory) SetFault(fault func(operation string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = fault
}

// Writes returns the number of transactions that changed something.
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
