package tunnelwatch

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/agent/agenttest"
	"github.com/braintree/lb/netx/tunnel"
)

var errNoRepair = errors.New("no privilege")

// fakeKernel is a machine whose tunnel a test damages.
type fakeKernel struct {
	mu      sync.Mutex
	state   tunnel.State
	changed func()
	refuse  error // of Up
	unread  error // of State
	looks   int
	repairs int
}

func vips() []netip.Addr {
	return []netip.Addr{netip.MustParseAddr("10.9.0.100"), netip.MustParseAddr("fd09::100")}
}

// goodState is the state of a machine with everything set up.
func goodState() tunnel.State {
	s := tunnel.State{
		Device: tunnel.Device{Kind: "ipip", Up: true}, Device6: tunnel.Device{Kind: "ip6tnl", Up: true},
		Tunnels: []tunnel.Tunnel{{Name: "tunl0", Kind: "ipip", Up: true}, {Name: "ip6tnl0", Kind: "ip6tnl", Up: true}},
		Links: []tunnel.Link{{Name: "eth0", MTU: 1500, Addresses: []netip.Addr{
			netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1"),
		}}},
		Sysctls: map[string]string{
			"all/arp_ignore": "1", "all/arp_announce": "2", "all/rp_filter": "0", "tunl0/rp_filter": "2", "eth0/arp_ignore": "0",
		},
		Clamp:     &tunnel.MSSClamp{VIPs: vips(), MSS: 1440, MSS6: 1400},
		Addresses: vips(),
	}
	for _, v := range vips() {
		s.VIPs = append(s.VIPs, tunnel.Address{Addr: v, Managed: true})
	}
	return s
}

func (k *fakeKernel) Up(context.Context, tunnel.Desired) ([]tunnel.Step, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.refuse != nil {
		return nil, k.refuse
	}
	k.repairs++
	k.state = goodState()
	return nil, nil
}

func (k *fakeKernel) State(context.Context) (tunnel.State, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.looks++
	return k.state, k.unread
}

func (k *fakeKernel) Watch(ctx context.Context, changed func()) error {
	k.mu.Lock()
	k.changed = changed
	k.mu.Unlock()
	changed()
	<-ctx.Done()
	return nil
}

// damage changes the state without a notification.
func (k *fakeKernel) damage(change func(*tunnel.State)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := goodState()
	change(&s)
	k.state = s
}

// damageAndNotify is damage with a notification.
func (k *fakeKernel) damageAndNotify(change func(*tunnel.State)) {
	k.damage(change)
	k.changed()
}

// fail makes repairs and looks fail from now on, or not.
func (k *fakeKernel) fail(refuse, unread error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refuse, k.unread = refuse, unread
}

func (k *fakeKernel) counts() (looks, repairs int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.looks, k.repairs
}

// rig is a watcher under test, in a bubble of synctest.
type rig struct {
	*Watcher
	kernel    *fakeKernel
	log       *agenttest.Log
	published []string
}

// watching runs test with a watcher that has settled.
func watching(t *testing.T, want Wanted, test func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{kernel: &fakeKernel{state: goodState()}, log: &agenttest.Log{}}
		r.Watcher = New(r.kernel, r.log.Logger(), func(s Status) { r.published = append(r.published, tunnel.Describe(s.Faults)) })
		if err := r.Use(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.Run(ctx) }()
		time.Sleep(2 * quiet)
		r.published = nil
		test(t, r)
		cancel()
		<-done
	})
}

func wanted() Wanted { return Wanted{Desired: tunnel.Desired{VIPs: vips()}} }

func (r *rig) expect(t *testing.T, faults string, drifts uint64) {
	t.Helper()
	s := r.Status()
	if got := tunnel.Describe(s.Faults); got != faults || s.Drifts != drifts {
		t.Errorf("faults %q after %d drifts; want %q after %d\n%s", got, s.Drifts, faults, drifts, r.log)
	}
}

func deviceDown(s *tunnel.State) { s.Device.Up = false }
func tableGone(s *tunnel.State)  { s.Clamp = nil }

func TestANotifiedChangeIsRepairedAtOnce(t *testing.T) {
	watching(t, wanted(), func(t *testing.T, r *rig) {
		_, before := r.kernel.counts()
		r.kernel.damageAndNotify(deviceDown)
		time.Sleep(settle + 1)
		if _, repairs := r.kernel.counts(); repairs != before+1 {
			t.Errorf("%d repairs", repairs-before)
		}
		r.expect(t, "", 1)
		if r.log.Count("level=WARN", "another program changed the tunnel", "tunl0 is down", "10.9.0.100") != 1 {
			t.Errorf("log:\n%s", r.log)
		}
		if last := r.Status().LastDrift; last.What != "tunl0 is down" || last.At.IsZero() {
			t.Errorf("last drift: %+v", last)
		}
		if len(r.published) != 0 {
			t.Errorf("published %q, although nothing was lost for long", r.published)
		}
	})
}

func TestAChangeWithoutANotificationIsFoundByTheSlowLook(t *testing.T) {
	watching(t, wanted(), func(t *testing.T, r *rig) {
		r.kernel.damage(func(s *tunnel.State) { s.Sysctls["all/arp_ignore"] = "0" })
		time.Sleep(slowLook)
		r.expect(t, "", 1)
		if what := r.Status().LastDrift.What; what != "net/ipv4/conf/all/arp_ignore is 0, not 1" {
			t.Error(what)
		}
	})
}

func TestAnIdleWatcherLooksEveryHalfMinute(t *testing.T) {
	watching(t, wanted(), func(t *testing.T, r *rig) {
		before, _ := r.kernel.counts()
		time.Sleep(10 * slowLook)
		if looks, _ := r.kernel.counts(); looks-before != 10 {
			t.Errorf("%d looks in 10 × %s", looks-before, slowLook)
		}
	})
}

func TestAFailedRepairIsAFaultAndTriedAgain(t *testing.T) {
	watching(t, wanted(), func(t *testing.T, r *rig) {
		r.kernel.fail(errNoRepair, nil)
		r.kernel.damageAndNotify(deviceDown)
		time.Sleep(settle + 1)
		r.expect(t, "tunl0 is down", 1)
		time.Sleep(5 * time.Minute)
		r.expect(t, "tunl0 is down", 1)
		if n := r.log.Count("level=ERROR", "cannot repair the tunnel", "no privilege"); n != 1 {
			t.Errorf("logged %d times:\n%s", n, r.log)
		}
		r.kernel.fail(nil, nil)
		time.Sleep(slowLook)
		r.expect(t, "", 1)
		if got := strings.Join(r.published, "|"); got != "tunl0 is down|" || r.log.Count("tunnel is right again") != 1 {
			t.Errorf("published %q, log:\n%s", got, r.log)
		}
	})
}

// A fault injected 100 times a second must not make lb busy, and is a fault although each one is repaired.
func TestAnEndlessFlushIsRepairedAtMostAboutOnceASecond(t *testing.T) {
	watching(t, wanted(), func(t *testing.T, r *rig) {
		before, _ := r.kernel.counts()
		lines := r.log.Count("another program changed the tunnel")
		for range 60 * 100 {
			r.kernel.damageAndNotify(tableGone)
			time.Sleep(10 * time.Millisecond)
		}
		looks, repairs := r.kernel.counts()
		if looks-before > 2*80 || repairs < 60 { // each repair needs two looks
			t.Errorf("%d looks, %d repairs in a minute", looks-before, repairs)
		}
		if n := r.log.Count("another program changed the tunnel") - lines; n > 7 {
			t.Errorf("%d lines in the log", n)
		}
		if got := tunnel.Describe(r.Status().Faults); !strings.HasPrefix(got, "another program keeps changing the tunnel: nftables table") {
			t.Errorf("faults %q", got)
		}
		time.Sleep(2 * quiet)
		if got := r.Status().Faults; len(got) != 0 {
			t.Errorf("after the last flush: %v", got)
		}
	})
}

func TestWatchOnlyRepairsNothing(t *testing.T) {
	want := wanted()
	want.WatchOnly = true
	watching(t, want, func(t *testing.T, r *rig) {
		r.kernel.damageAndNotify(func(s *tunnel.State) { s.Tunnels[0].Up = false })
		time.Sleep(settle + 1)
		r.expect(t, "tunl0 is down", 1)
		time.Sleep(10 * slowLook)
		r.expect(t, "tunl0 is down", 1)
		r.kernel.damageAndNotify(func(*tunnel.State) {})
		time.Sleep(maxGap)
		r.expect(t, "", 1)
		r.kernel.damageAndNotify(tableGone) // it was there at the beginning
		time.Sleep(maxGap)
		r.expect(t, "nftables table inet lb_agent is missing or changed, so uploads may hang", 2)
		if _, repairs := r.kernel.counts(); repairs != 0 {
			t.Errorf("%d repairs", repairs)
		}
	})
}

func TestWatchOnlyAcceptsWhatIsOtherwiseFromTheBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &agenttest.Log{}
		kernel := &fakeKernel{}
		kernel.damage(func(s *tunnel.State) { s.Clamp, s.Sysctls["all/arp_ignore"] = nil, "0" })
		w := New(kernel, log.Logger(), func(Status) {})
		want := wanted()
		want.WatchOnly = true
		for range 2 { // a reload with the same settings forgets nothing
			if err := w.Use(t.Context(), want); err != nil {
				t.Fatal(err)
			}
		}
		if faults := w.Status().Faults; len(faults) != 0 || log.Count("not watched") != 2 {
			t.Errorf("%v, log:\n%s", faults, log)
		}
		kernel.damage(func(s *tunnel.State) { s.Clamp = nil })
		w.look(t.Context())
		kernel.damage(func(s *tunnel.State) { s.Clamp, s.Sysctls["all/arp_ignore"] = nil, "0" })
		w.look(t.Context())
		if faults := w.Status().Faults; len(faults) != 1 || !strings.Contains(faults[0].Text, "arp_ignore of eth0 is 0") {
			t.Errorf("what was right meanwhile is not watched: %v", faults)
		}
	})
}

func TestAnUnreadableStateIsNoFault(t *testing.T) {
	watching(t, wanted(), func(t *testing.T, r *rig) {
		r.kernel.fail(nil, errors.New("dump interrupted"))
		r.kernel.changed()
		time.Sleep(time.Minute)
		r.expect(t, "", 0)
		if r.log.Count("dump interrupted") != 1 {
			t.Errorf("log:\n%s", r.log)
		}
	})
}

func TestNothingIsWatchedWithoutVirtualIPs(t *testing.T) {
	watching(t, wanted(), func(t *testing.T, r *rig) {
		r.kernel.fail(errNoRepair, nil)
		r.kernel.damageAndNotify(deviceDown)
		time.Sleep(time.Second)
		r.expect(t, "tunl0 is down", 1)
		if err := r.Use(t.Context(), Wanted{}); err != nil {
			t.Error(err)
		}
		r.expect(t, "", 1)
		before, _ := r.kernel.counts()
		time.Sleep(time.Hour)
		if looks, _ := r.kernel.counts(); looks != before {
			t.Errorf("%d looks", looks-before)
		}
		r.kernel.fail(nil, nil)
		if err := r.Use(t.Context(), wanted()); err != nil {
			t.Error(err)
		}
		time.Sleep(slowLook)
		r.kernel.damageAndNotify(deviceDown)
		time.Sleep(maxGap)
		r.expect(t, "", 2)
	})
}
