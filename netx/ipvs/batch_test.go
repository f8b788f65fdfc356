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

// strict answers as the kernel does, which keeps adding and editing apart, and works on a table in memory.
type strict struct {
	*Memory
	rounds, most int // how often it was asked, and the most in one go
}

func (k *strict) exchange(batch []attempt) []error {
	k.rounds, k.most = k.rounds+1, max(k.most, len(batch))
	errs := make([]error, len(batch))
	for i, a := range batch {
		key := a.service.Key
		_, missing := k.destination(key, a.destination.Address, a.destination.Port)
		exists := missing == nil
		if a.ofService() {
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
		PutDestination(key, Destination{Address: address, Forwarding: Tunnel, Lower: 5}), // refused
		DeleteDestination(key, address, 0),
		DeleteService(key),
	}).Draw(t, "change")
	c.AssumeNew, c.MustExist = rapid.Bool().Draw(t, "new"), rapid.Bool().Draw(t, "edit")
	return c
}

// Whatever is guessed about what is there, a list of changes does what they do one after the other, and gives the same errors.
func TestPropertyBatchesActAsOneAfterTheOther(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		changes := rapid.SliceOfN(rapid.Custom(drawChange), 0, 150).Draw(t, "changes")
		alone, kernel := NewMemory(), &strict{Memory: NewMemory()}
		var want []error
		for _, c := range changes {
			want = append(want, ApplyOne(context.Background(), alone, c))
		}
		for i, err := range inOrder(context.Background(), changes, kernel.exchange) {
			switch {
			case errors.Is(err, unix.ESRCH):
				err = ErrNoService
			case errors.Is(err, unix.ENOENT):
				err = ErrNoDestination
			}
			if got := changes[i].operation().wrap(err); fmt.Sprint(got) != fmt.Sprint(want[i]) {
				t.Fatalf("change %d: %v, but alone %v", i, got, want[i])
			}
		}
		if diff := cmp.Diff(alone.services, kernel.services, cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("- alone, + together:\n%s", diff)
		}
	})
}

func TestAGoodGuessTakesOneRoundForAHundredChanges(t *testing.T) {
	kernel := &strict{Memory: NewMemory()}
	key := Key{Mark: 7, Family: IPv4}
	changes := []Change{PutService(Service{Key: key, Scheduler: "wlc"})}
	for n := range 249 {
		changes = append(changes, PutDestination(key, Destination{Address: netip.AddrFrom4([4]byte{10, 0, 1, byte(n)}), Forwarding: Tunnel}))
	}
	for i := range changes {
		changes[i].AssumeNew = true
	}
	for _, err := range inOrder(t.Context(), changes, kernel.exchange) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if kernel.rounds != 3 || kernel.most != 100 {
		t.Errorf("%d rounds of at most %d messages for 250 changes, wanted 3 of 100", kernel.rounds, kernel.most)
	}
}

func TestPutStopsWhenAnotherProgramNeverDoes(t *testing.T) {
	rounds := 0
	errs := inOrder(t.Context(), []Change{PutService(Service{Key: Key{Mark: 7, Family: IPv4}, Scheduler: "wlc"})}, func(batch []attempt) []error {
		rounds++
		if batch[0].add {
			return []error{unix.EEXIST}
		}
		return []error{unix.ESRCH}
	})
	if !errors.Is(errs[0], unix.EEXIST) || rounds != tries {
		t.Errorf("%v after %d rounds", errs[0], rounds)
	}
}

func TestBatchesEndWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var changes []Change
	for n := range 2 * batchSize {
		changes = append(changes, DeleteService(Key{Mark: Mark(n + 1), Family: IPv4}))
	}
	errs := inOrder(ctx, changes, func(batch []attempt) []error {
		cancel()
		return make([]error, len(batch))
	})
	if errs[batchSize-1] != nil || !errors.Is(errs[batchSize+1], context.Canceled) {
		t.Errorf("the first batch: %v, the second: %v", errs[batchSize-1], errs[batchSize+1])
	}
}

func TestServiceOnTheWire(t *testing.T) {
	for _, c := range []struct {
		name    string
		service Service
		want    string
	}{
		{"plain", Service{Key: Key{Mark: 7, Family: IPv4}, Scheduler: "wlc"},
			"3800" + "0180" + "0600" + "0100" + "02000000" + "0800" + "0500" + "07000000" + "0800" + "0600" + "776c6300" +
				"0c00" + "0700" + "00000000" + "ffffffff" + "0800" + "0800" + "00000000" + "0800" + "0900" + "ffffffff"},
		{"IPv6, sticky by /64", Service{Key: Key{Mark: 7, Family: IPv6}, Scheduler: "mh", Flags: Persistent | SchedFallback, Timeout: 60e9, Prefix: 64},
			"3800" + "0180" + "0600" + "0100" + "0a000000" + "0800" + "0500" + "07000000" + "0700" + "0600" + "6d680000" +
				"0c00" + "0700" + "09000000" + "ffffffff" + "0800" + "0800" + "3c000000" + "0800" + "0900" + "40000000"},
		{"IPv4, sticky by /20", Service{Key: Key{Mark: 7, Family: IPv4}, Scheduler: "mh", Flags: Persistent, Timeout: 60e9, Prefix: 20},
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

func TestNetmasksAreReadAsPrefixes(t *testing.T) {
	for _, c := range []struct {
		name   string
		family Family
		mask   uint32 // as a little-endian machine reads it
		want   uint8
	}{
		{"IPv4, whole", IPv4, 0xffffffff, 0},
		{"IPv4, /20", IPv4, 0x00f0ffff, 20},
		{"IPv4, /1", IPv4, 0x00000080, 1},
		{"IPv4, none", IPv4, 0, oddPrefix},
		{"IPv4, with holes", IPv4, 0x00ff00ff, oddPrefix},
		{"IPv6, whole", IPv6, 128, 0},
		{"IPv6, /64", IPv6, 64, 64},
	} {
		if got := prefixOf(c.family, c.mask); got != c.want {
			t.Errorf("%s: %d, wanted %d", c.name, got, c.want)
		}
	}
}
