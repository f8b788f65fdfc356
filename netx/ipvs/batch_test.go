package ipvs

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// strictKernel distinguishes add from edit, as the kernel does, on an in-memory table.
type strictKernel struct {
	*Memory
	rounds, largest int // number of exchanges, and the largest batch
}

func (k *strictKernel) exchange(batch []attempt) []error {
	k.rounds, k.largest = k.rounds+1, max(k.largest, len(batch))
	errs := make([]error, len(batch))
	for i, a := range batch {
		key := a.service.Key
		_, missing := k.destination(key, a.destination.Address, a.destination.Port)
		exists := missing == nil
		if a.isServiceChange() {
			exists = k.service(key) != nil
		}
		switch {
		case a.add && exists && (a.verb == opPutService || a.verb == opPutDestination):
			errs[i] = unix.EEXIST
		case !exists && k.service(key) == nil && !(a.verb == opPutService && a.add):
			errs[i] = unix.ESRCH
		case !exists && !a.add:
			errs[i] = unix.ENOENT
		default:
			errs[i] = k.change(a.Change)
		}
	}
	return errs
}

func drawChange(t *rapid.T) Change {
	key := Key{Mark: Mark(rapid.IntRange(0, 2).Draw(t, "mark")), Family: IPv4}
	address := netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(1, 3).Draw(t, "node"))})
	c := rapid.SampledFrom([]Change{
		PutService(Service{Key: key, Scheduler: rapid.SampledFrom([]string{"wlc", "wrr", ""}).Draw(t, "scheduler")}),
		PutDestination(key, Destination{Address: address, Forwarding: Tunnel, Weight: Weight(rapid.IntRange(0, 9).Draw(t, "weight"))}),
		PutDestination(key, Destination{Address: address, Forwarding: Tunnel, Lower: 5}), // invalid
		DeleteDestination(key, address, 0),
		DeleteService(key),
	}).Draw(t, "change")
	c.AssumeNew, c.MustExist = rapid.Bool().Draw(t, "new"), rapid.Bool().Draw(t, "edit")
	return c
}

// Whatever is assumed, a batch has the same effect and the same errors as its changes one by one.
func TestBatchesBehaveLikeSequentialChanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		changes := rapid.SliceOfN(rapid.Custom(drawChange), 0, 150).Draw(t, "changes")
		alone, kernel := NewMemory(), &strictKernel{Memory: NewMemory()}
		var want []error
		for _, c := range changes {
			want = append(want, ApplyOne(context.Background(), alone, c))
		}
		for i, err := range applyInOrder(context.Background(), changes, kernel.exchange) {
			switch {
			case errors.Is(err, unix.ESRCH):
				err = ErrNoService
			case errors.Is(err, unix.ENOENT):
				err = ErrNoDestination
			}
			if got := changes[i].operation().wrap(err); fmt.Sprint(got) != fmt.Sprint(want[i]) {
				t.Fatalf("change %d: %v, one by one %v", i, got, want[i])
			}
		}
		if diff := cmp.Diff(alone.services, kernel.services, cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("- one by one, + as a batch:\n%s", diff)
		}
	})
}

func TestACorrectAssumptionTakesOneRoundPerHundredChanges(t *testing.T) {
	kernel := &strictKernel{Memory: NewMemory()}
	key := Key{Mark: 7, Family: IPv4}
	changes := []Change{PutService(Service{Key: key, Scheduler: "wlc"})}
	for n := range 249 {
		address := netip.AddrFrom4([4]byte{10, 0, 1, byte(n)})
		changes = append(changes, PutDestination(key, Destination{Address: address, Forwarding: Tunnel}))
	}
	for i := range changes {
		changes[i].AssumeNew = true
	}
	for _, err := range applyInOrder(t.Context(), changes, kernel.exchange) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if kernel.rounds != 3 || kernel.largest != 100 {
		t.Errorf("%d rounds of at most %d messages for 250 changes, wanted 3 of 100", kernel.rounds, kernel.largest)
	}
}

func TestPutGivesUpWhenAnotherProgramKeepsInterfering(t *testing.T) {
	rounds := 0
	put := PutService(Service{Key: Key{Mark: 7, Family: IPv4}, Scheduler: "wlc"})
	errs := applyInOrder(t.Context(), []Change{put}, func(batch []attempt) []error {
		rounds++
		if batch[0].add {
			return []error{unix.EEXIST}
		}
		return []error{unix.ESRCH}
	})
	if !errors.Is(errs[0], unix.EEXIST) || rounds != maxAttempts {
		t.Errorf("%v after %d rounds", errs[0], rounds)
	}
}

func TestBatchesStopWhenTheContextIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var changes []Change
	for n := range 2 * batchSize {
		changes = append(changes, DeleteService(Key{Mark: Mark(n + 1), Family: IPv4}))
	}
	errs := applyInOrder(ctx, changes, func(batch []attempt) []error {
		cancel()
		return make([]error, len(batch))
	})
	if errs[batchSize-1] != nil || !errors.Is(errs[batchSize+1], context.Canceled) {
		t.Errorf("the first batch: %v, the second: %v", errs[batchSize-1], errs[batchSize+1])
	}
}

func TestServiceWireFormat(t *testing.T) {
	for _, c := range []struct {
		name    string
		service Service
		want    string
	}{
		{"plain", Service{Key: Key{Mark: 7, Family: IPv4}, Scheduler: "wlc"},
			"3800" + "0180" + "0600" + "0100" + "02000000" + "0800" + "0500" + "07000000" + "0800" + "0600" + "776c6300" +
				"0c00" + "0700" + "00000000" + "ffffffff" + "0800" + "0800" + "00000000" + "0800" + "0900" + "ffffffff"},
		{"IPv6, persistence by /64",
			Service{Key: Key{Mark: 7, Family: IPv6}, Scheduler: "mh", Flags: Persistent | SchedFallback, Timeout: 60e9, Prefix: 64},
			"3800" + "0180" + "0600" + "0100" + "0a000000" + "0800" + "0500" + "07000000" + "0700" + "0600" + "6d680000" +
				"0c00" + "0700" + "09000000" + "ffffffff" + "0800" + "0800" + "3c000000" + "0800" + "0900" + "40000000"},
		{"IPv4, persistence by /20",
			Service{Key: Key{Mark: 7, Family: IPv4}, Scheduler: "mh", Flags: Persistent, Timeout: 60e9, Prefix: 20},
			"3800" + "0180" + "0600" + "0100" + "02000000" + "0800" + "0500" + "07000000" + "0700" + "0600" + "6d680000" +
				"0c00" + "0700" + "01000000" + "ffffffff" + "0800" + "0800" + "3c000000" + "0800" + "0900" + "fffff000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := fmt.Sprintf("%x", encode(nil, attempt{Change: PutService(c.service), add: true})); got != "01010000"+c.want {
				t.Errorf("sent   %s\nwanted 01010000%s", got, c.want)
			}
		})
	}
}

func FuzzDecodeDaemon(f *testing.F) {
	seed := []byte(encodeDaemon(nil, Daemon{Role: Backup, Interface: "eth1", ID: 7}))
	f.Add(seed)
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := decodeDaemon(data)
		if err == nil && string(data) == string(seed) && d != (Daemon{Role: Backup, Interface: "eth1", ID: 7}) {
			t.Errorf("read %v", d)
		}
	})
}

func TestNetmasksDecodeToPrefixes(t *testing.T) {
	for _, c := range []struct {
		name   string
		family Family
		mask   uint32 // as read by a little-endian machine
		want   uint8
	}{
		{"IPv4, full", IPv4, 0xffffffff, 0},
		{"IPv4, /20", IPv4, 0x00f0ffff, 20},
		{"IPv4, /1", IPv4, 0x00000080, 1},
		{"IPv4, none", IPv4, 0, invalidPrefix},
		{"IPv4, with holes", IPv4, 0x00ff00ff, invalidPrefix},
		{"IPv6, full", IPv6, 128, 0},
		{"IPv6, /64", IPv6, 64, 64},
	} {
		if got := prefixOf(c.family, c.mask); got != c.want {
			t.Errorf("%s: %d, wanted %d", c.name, got, c.want)
		}
	}
}
