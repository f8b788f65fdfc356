//go:build lab

package vip_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/braintree/lb/netx"
	"github.com/braintree/lb/netx/lab"
	"github.com/braintree/lb/netx/lab/labtest"
	"github.com/braintree/lb/netx/vip"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// prefixes returns a virtual IP of each family.
func prefixes() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("10.9.0.100/32"), netip.MustParsePrefix("fd09::100/128")}
}

// runOn runs fn on the host and fails the test on error.
func runOn(t *testing.T, h *lab.Host, fn func(ctx context.Context) error) {
	t.Helper()
	if err := h.Do(func() error { return fn(t.Context()) }); err != nil {
		t.Fatal(err)
	}
}

// hasVIP asks vip.Has and checks its result against `ip addr`.
func hasVIP(t *testing.T, h *lab.Host, p netip.Prefix) bool {
	t.Helper()
	var got bool
	runOn(t, h, func(ctx context.Context) (err error) {
		got, err = vip.Has(ctx, "eth0", p)
		return err
	})
	if list := labtest.Run(t, h, "ip", "-o", "addr", "show", "dev", "eth0"); strings.Contains(list, " "+p.String()+" ") != got {
		t.Errorf("Has returns %v for %s, `ip addr` lists\n%s", got, p, list)
	}
	return got
}

func TestAddAndRemoveAreIdempotent(t *testing.T) {
	l := labtest.New(t)
	h := labtest.Host(t, l, labtest.Switch(t, l, "lan"), "load01", "10.9.0.1/24", "fd09::1/64")
	for _, p := range prefixes() {
		t.Run(p.String(), func(t *testing.T) {
			if hasVIP(t, h, p) {
				t.Fatal("present before Add")
			}
			for range 2 {
				runOn(t, h, func(ctx context.Context) error { return vip.Add(ctx, "eth0", p) })
				if !hasVIP(t, h, p) {
					t.Fatal("missing after Add")
				}
			}
			for range 2 {
				runOn(t, h, func(ctx context.Context) error { return vip.Remove(ctx, "eth0", p) })
				if hasVIP(t, h, p) {
					t.Fatal("still present after Remove")
				}
			}
		})
	}
}

func TestAnIPv6VirtualIPIsNeverASourceAddress(t *testing.T) {
	l := labtest.New(t)
	h := labtest.Host(t, l, labtest.Switch(t, l, "lan"), "load01", "fd09::1/64")
	runOn(t, h, func(ctx context.Context) error { return vip.Add(ctx, "eth0", netip.MustParsePrefix("fd09::200/128")) })
	if route := labtest.Run(t, h, "ip", "-6", "route", "get", "fd09::201"); !strings.Contains(route, "src fd09::1 ") {
		t.Errorf("outgoing connections would use the virtual IP: %s", route)
	}
}

func TestErrorsNameTheFix(t *testing.T) {
	l := labtest.New(t)
	h := labtest.Host(t, l, labtest.Switch(t, l, "lan"), "load01", "10.9.0.1/24")
	p := prefixes()[0]
	tests := []struct {
		name string
		fn   func(ctx context.Context) error
		want string
	}{
		{"add to a missing interface", func(ctx context.Context) error { return vip.Add(ctx, "eth10", p) },
			"add virtual IP 10.9.0.100/32: this machine has no interface eth10 (`ip link` lists them)"},
		{"remove from a missing interface", func(ctx context.Context) error { return vip.Remove(ctx, "eth10", p) }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := h.Do(func() error { return tt.fn(t.Context()) })
			if got := fmt.Sprint(err); (tt.want == "") != (err == nil) || !strings.Contains(got, strings.TrimSpace(tt.want)) && err != nil {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	t.Run("without privilege", func(t *testing.T) {
		err := h.Do(func() error { return unprivileged(func() error { return vip.Add(t.Context(), "eth0", p) }) })
		if !errors.Is(err, netx.ErrNoPrivilege) {
			t.Errorf("got %v", err)
		}
	})
}

// unprivileged runs fn with another effective user ID, on the calling thread only.
func unprivileged(fn func() error) error {
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), 65534, ^uintptr(0)); errno != 0 {
		return errno
	}
	err := fn()
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), 0, ^uintptr(0)); errno != 0 {
		return errno
	}
	return err
}
