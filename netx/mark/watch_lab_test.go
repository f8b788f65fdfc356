//go:build lab

package mark_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/braintree/lb/netx/mark"
)

// watch follows changes of the table. The channel has room for every notification of a test.
func watch(t *testing.T, k *mark.Kernel) <-chan struct{} {
	t.Helper()
	changes := make(chan struct{}, 10_000)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- k.Watch(ctx, func() { changes <- struct{}{} }) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("watch: %v", err)
		}
	})
	<-changes // the one at the start
	return changes
}

func wantChange(t *testing.T, changes <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-changes:
	case <-time.After(30 * time.Second):
		t.Fatalf("no notification of %s", what)
	}
}

func TestEveryDamageByOthersIsNoticed(t *testing.T) {
	enterNewNamespace(t)
	k := newKernel(t)
	changes := watch(t, k)
	damages := damages()
	damages["ruleset flushed"] = "flush ruleset"
	for name, damage := range damages {
		must(t, k.Set(t.Context(), listedRules()))
		if len(changes) > 0 {
			t.Fatalf("lb's own change is taken for one by another program, after %s", name)
		}
		run(t, "nft", damage)
		wantChange(t, changes, name)
		must(t, k.Set(t.Context(), listedRules()))
		// The notifications of one transaction may arrive in several parts. The last of a marker's shows that all are here.
		run(t, "nft", "add chain inet lb marker; delete chain inet lb marker")
		wantChange(t, changes, "a chain of another name")
		for len(changes) > 0 {
			<-changes
		}
	}
}

func TestChangesToOtherTablesAreNotNoticed(t *testing.T) {
	enterNewNamespace(t)
	k := newKernel(t)
	must(t, k.Set(t.Context(), listedRules()))
	changes := watch(t, k)
	run(t, "nft", foreignTables)
	run(t, "nft", "delete table ip lb; delete table inet lb2; delete table inet filter")
	must(t, k.Set(t.Context(), someRules()))
	must(t, k.Remove(t.Context()))
	run(t, "nft", "add table inet lb")
	wantChange(t, changes, "the new table")
	if more := len(changes); more > 0 {
		t.Errorf("%d notifications more than the one of the new table", more)
	}
}

// TestLostNotificationsCount makes the kernel drop notifications: lb has to look then.
func TestLostNotificationsCount(t *testing.T) {
	enterNewNamespace(t)
	k := newKernel(t)
	must(t, k.Set(t.Context(), listedRules()))
	release, noticed := make(chan struct{}), make(chan struct{}, 10_000)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	calls := 0
	go func() {
		ended <- k.Watch(ctx, func() {
			if calls++; calls == 2 {
				<-release // nobody reads the socket meanwhile
			}
			noticed <- struct{}{}
		})
	}()
	<-noticed
	run(t, "nft", "add chain inet lb marker")
	var elements []string
	for i := range 2000 {
		elements = append(elements, fmt.Sprintf("10.%d.%d.1", i/250, i%250))
	}
	list := strings.Join(elements, ", ")
	run(t, "nft", "add table ip other; add set ip other s { type ipv4_addr; }")
	for range 20 {
		run(t, "nft", "add element ip other s { "+list+" }; flush set ip other s")
	}
	close(release)
	wantChange(t, noticed, "the marker")
	wantChange(t, noticed, "lost notifications")
	stop()
	must(t, <-ended)
}
