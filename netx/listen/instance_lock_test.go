package listen

import (
	"strings"
	"testing"
)

func TestLockInstanceAllowsOneDaemonPerName(t *testing.T) {
	d := Daemon{Name: "lb test of " + t.TempDir(), Section: "balancer"}
	first, err := d.LockInstance(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.LockInstance(t.Context())
	if err == nil || !strings.Contains(err.Error(), "another "+d.Name+" runs in this network namespace") {
		t.Errorf("a second instance: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	next, err := d.LockInstance(t.Context())
	if err != nil {
		t.Fatalf("after the first instance ended: %v", err)
	}
	if err := next.Close(); err != nil {
		t.Error(err)
	}
}
