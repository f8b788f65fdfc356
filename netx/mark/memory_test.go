package mark_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/braintree/lb/netx/mark"
	"github.com/braintree/lb/netx/mark/marktest"
)

func TestMemoryConformance(t *testing.T) {
	marktest.Run(t, func(*testing.T) mark.Table { return mark.NewMemory() })
}

func TestMemoryCountsWritesAndFailsOnDemand(t *testing.T) {
	m := mark.NewMemory()
	rules := []mark.Rule{{Address: netip.MustParseAddr("10.0.0.1"), Protocol: "tcp", Port: 443, Mark: 7}}
	for range 2 {
		if err := m.Set(t.Context(), rules); err != nil {
			t.Fatal(err)
		}
	}
	if m.Writes() != 1 {
		t.Errorf("%d writes for the same rules twice, wanted 1", m.Writes())
	}
	broken := errors.New("broken")
	m.SetFault(func(operation string) error {
		if operation == "set marks" {
			return broken
		}
		return nil
	})
	if err := m.Set(t.Context(), nil); !errors.Is(err, broken) || err.Error() != "set marks: broken" {
		t.Errorf("set: %v", err)
	}
	if listed, err := m.List(t.Context()); err != nil || len(listed) != 1 {
		t.Errorf("list: %v, %v", listed, err)
	}
}
