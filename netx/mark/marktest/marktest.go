// Package marktest is the conformance suite of mark.Table, which every implementation passes.
package marktest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
)

// Run runs the suite. newTable returns an empty table for exclusive use.
func Run(t *testing.T, newTable func(t *testing.T) mark.Table) {
	for _, c := range []struct {
		name string
		test func(*testing.T, mark.Table)
	}{
		{"an absent table lists nothing and is removed without error", absent},
		{"every kind of rule is listed as it was set, sorted", everyKindOfRule},
		{"set removes rules that are no longer wanted", replace},
		{"a changed mark replaces the old one", changeMark},
		{"an empty set lists nothing", empty},
		{"a rule given twice counts once", duplicateRules},
		{"an IPv4-mapped address is IPv4", mapped},
		{"a removed table can be set again", removeAndSet},
		{"rules are independent of the caller's slice", callerKeepsRules},
		{"invalid rules are all reported and change nothing", invalidRules},
		{"two marks for the same packets are rejected", conflict},
		{"a cancelled context changes nothing", cancelled},
		{"concurrent use is safe", concurrent},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, newTable(t)) })
	}
}

func rule(address, protocol string, port uint16, on string, m ipvs.Mark) mark.Rule {
	return mark.Rule{Address: netip.MustParseAddr(address), Interface: on, Protocol: protocol, Port: port, Mark: m}
}

func set(t *testing.T, table mark.Table, rules ...mark.Rule) {
	t.Helper()
	if err := table.Set(t.Context(), rules); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, table mark.Table, rules ...mark.Rule) {
	t.Helper()
	got, err := table.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rules, got, cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("the rules differ (- wanted, + found):\n%s", diff)
	}
}

func absent(t *testing.T, table mark.Table) {
	want(t, table)
	for range 2 {
		if err := table.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	want(t, table)
}

func everyKindOfRule(t *testing.T, table mark.Table) {
	sorted := []mark.Rule{
		rule("9.0.0.1", "tcp", 443, "", 1),
		rule("10.0.0.1", "sctp", 5060, "", 2),
		rule("10.0.0.1", "tcp", 80, "", 3),
		rule("10.0.0.1", "tcp", 443, "", 4294967295),
		rule("10.0.0.1", "tcp", 443, "a", 5),
		rule("10.0.0.1", "tcp", 443, "fifteen-letters", 6),
		rule("10.0.0.1", "tcp", 65535, "", 7),
		rule("10.0.0.1", "udp", 443, "", 8),
		rule("fd00::1", "sctp", 1, "eth0", 9),
		rule("fd00::1", "tcp", 443, "", 10),
		rule("fd00::1", "tcp", 443, "eth0.100", 11),
		rule("fd00::1", "udp", 443, "", 12),
	}
	shuffled := make([]mark.Rule, 0, len(sorted))
	for i := range sorted {
		shuffled = append(shuffled, sorted[(i*5+3)%len(sorted)])
	}
	set(t, table, shuffled...)
	want(t, table, sorted...)
	set(t, table, sorted...)
	want(t, table, sorted...)
}

func replace(t *testing.T, table mark.Table) {
	a, b, c := rule("10.0.0.1", "tcp", 443, "", 1), rule("10.0.0.2", "tcp", 443, "eth0", 2), rule("fd00::1", "tcp", 443, "", 3)
	set(t, table, a, b)
	set(t, table, b, c)
	want(t, table, b, c)
	set(t, table, a)
	want(t, table, a)
}

func changeMark(t *testing.T, table mark.Table) {
	before := []mark.Rule{rule("10.0.0.1", "tcp", 443, "", 1), rule("10.0.0.1", "tcp", 443, "eth0", 2), rule("fd00::1", "udp", 53, "", 3)}
	set(t, table, before...)
	after := []mark.Rule{
		rule("10.0.0.1", "tcp", 443, "", 2), rule("10.0.0.1", "tcp", 443, "eth0", 1), rule("fd00::1", "udp", 53, "", 70000),
	}
	set(t, table, after...)
	want(t, table, after...)
}

func empty(t *testing.T, table mark.Table) {
	set(t, table)
	want(t, table)
	set(t, table, rule("10.0.0.1", "tcp", 443, "", 1))
	set(t, table)
	want(t, table)
}

func duplicateRules(t *testing.T, table mark.Table) {
	r := rule("10.0.0.1", "tcp", 443, "", 1)
	set(t, table, r, r)
	want(t, table, r)
}

func mapped(t *testing.T, table mark.Table) {
	set(t, table, rule("::ffff:10.0.0.1", "tcp", 443, "", 1), rule("10.0.0.1", "tcp", 443, "", 1))
	want(t, table, rule("10.0.0.1", "tcp", 443, "", 1))
}

func removeAndSet(t *testing.T, table mark.Table) {
	r := rule("10.0.0.1", "tcp", 443, "", 1)
	set(t, table, r)
	if err := table.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	want(t, table)
	set(t, table, r)
	want(t, table, r)
}

func callerKeepsRules(t *testing.T, table mark.Table) {
	rules := []mark.Rule{rule("10.0.0.2", "tcp", 443, "", 2), rule("10.0.0.1", "tcp", 443, "", 1)}
	set(t, table, rules...)
	if rules[0].Mark != 2 {
		t.Error("Set sorted the caller's slice")
	}
	rules[0].Mark = 9
	listed, err := table.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	listed[0].Mark = 9
	want(t, table, rule("10.0.0.1", "tcp", 443, "", 1), rule("10.0.0.2", "tcp", 443, "", 2))
}

func invalidRules(t *testing.T, table mark.Table) {
	good := rule("10.0.0.1", "tcp", 443, "", 1)
	set(t, table, good)
	wrong := map[string]mark.Rule{
		"no address":           {Protocol: "tcp", Port: 443, Mark: 1},
		"has a zone":           rule("fe80::1%eth0", "tcp", 443, "", 1),
		"protocol \"icmp\"":    rule("10.0.0.2", "icmp", 443, "", 1),
		"protocol \"TCP\"":     rule("10.0.0.2", "TCP", 443, "", 1),
		"ports are":            rule("10.0.0.2", "tcp", 0, "", 1),
		"marks are":            rule("10.0.0.2", "tcp", 443, "", 0),
		"\"sixteen-letters-\"": rule("10.0.0.2", "tcp", 443, "sixteen-letters-", 1),
		"\"eth 0\"":            rule("10.0.0.2", "tcp", 443, "eth 0", 1),
		"\"eth/0\"":            rule("10.0.0.2", "tcp", 443, "eth/0", 1),
		"\"eth\\x00\"":         rule("10.0.0.2", "tcp", 443, "eth\x00", 1),
	}
	all := []mark.Rule{rule("10.0.0.9", "tcp", 443, "", 1)}
	for words, r := range wrong {
		err := table.Set(t.Context(), []mark.Rule{r})
		if !errors.Is(err, mark.ErrInvalid) || !strings.HasPrefix(err.Error(), "set marks: ") || !strings.Contains(err.Error(), words) {
			t.Errorf("%v: %v, wanted it to mention %s", r, err, words)
		}
		all = append(all, r)
	}
	err := table.Set(t.Context(), all)
	for words := range wrong {
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("the error for all rules does not mention %s: %v", words, err)
		}
	}
	want(t, table, good)
}

func conflict(t *testing.T, table mark.Table) {
	a, b := rule("10.0.0.1", "tcp", 443, "", 1), rule("10.0.0.1", "tcp", 443, "", 2)
	if err := table.Set(t.Context(), []mark.Rule{a, b}); !errors.Is(err, mark.ErrInvalid) {
		t.Errorf("two marks: %v", err)
	}
	want(t, table)
}

func cancelled(t *testing.T, table mark.Table) {
	r := rule("10.0.0.1", "tcp", 443, "", 1)
	set(t, table, r)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, listed := table.List(ctx)
	for _, err := range []error{table.Set(ctx, nil), table.Remove(ctx), listed} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v, wanted %v", err, context.Canceled)
		}
	}
	want(t, table, r)
}

func concurrent(t *testing.T, table mark.Table) {
	const workers, rounds = 6, 10
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// Each worker sets all its rules at once, so a list never mixes workers.
	rules := func(w int) []mark.Rule {
		var rs []mark.Rule
		for port := range uint16(5) {
			rs = append(rs, rule("10.0.0.1", "tcp", port+1, "", ipvs.Mark(w+1)))
		}
		return rs
	}
	errs := make(chan error, workers)
	for w := range workers {
		go func() {
			for range rounds {
				if err := table.Set(ctx, rules(w)); err != nil {
					errs <- err
					return
				}
				got, err := table.List(ctx)
				if err != nil {
					errs <- err
					return
				}
				for _, r := range got {
					if len(got) != 5 || r.Mark != got[0].Mark {
						errs <- fmt.Errorf("a mixture: %v", got)
						return
					}
				}
			}
			errs <- nil
		}()
	}
	for range workers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	set(t, table, rules(0)...)
	want(t, table, rules(0)...)
}
