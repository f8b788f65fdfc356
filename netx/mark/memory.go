package mark

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// Memory is a Table in memory that answers as the kernel does. For tests.
type Memory struct {
	mu     sync.Mutex // protects all below
	rules  []Rule     // sorted
	writes int
	fault  func(operation string) error
}

// NewMemory gives an empty table.
func NewMemory() *Memory {
	return &Memory{}
}

// SetFault has every operation ("list marks", "set marks", "remove marks") answered by fault first: what it returns, unless nil, is the
// operation's error and nothing is changed. A nil fault takes it away.
func (m *Memory) SetFault(fault func(operation string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = fault
}

// Writes counts the transactions that changed something.
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

// The operations, as errors name them.
const (
	opList   = "list marks"
	opSet    = "set marks"
	opRemove = "remove marks"
)

// enter begins every operation, which may be refused. The caller holds mu.
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
