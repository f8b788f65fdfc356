package ipvs

import (
	"context"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/genetlink/genltest"
	"github.com/mdlayher/netlink"
	moby "github.com/moby/ipvs"
	"golang.org/x/sys/unix"

	"github.com/braintree/lb/netx"
)

// kernelWith responds to the family lookup with an ID or errno, and to all else with another errno.
func kernelWith(t *testing.T, family func() (uint16, int), errno int) *genetlink.Conn {
	t.Helper()
	conn := genltest.Dial(func(g genetlink.Message, n netlink.Message) ([]genetlink.Message, error) {
		if n.Header.Type != unix.GENL_ID_CTRL {
			return nil, genltest.Error(errno)
		}
		id, missing := family()
		if missing != 0 {
			return nil, genltest.Error(missing)
		}
		return genltest.ServeFamily(genetlink.Family{ID: id, Version: 1, Name: "IPVS"}, nil)(g, n)
	})
	t.Cleanup(func() { conn.Close() })
	return conn
}

func fixedFamily(id uint16, errno int) func() (uint16, int) {
	return func() (uint16, int) { return id, errno }
}

func TestMobyIsNotCalledBeforeIPVSAndPrivilegeAreChecked(t *testing.T) {
	for _, c := range []struct {
		name string
		genl *genetlink.Conn
		want error
	}{
		{"no IPVS", kernelWith(t, fixedFamily(0, int(unix.ENOENT)), int(unix.EPERM)), netx.ErrNoIPVS},
		{"no privilege", kernelWith(t, fixedFamily(30, 0), int(unix.EPERM)), netx.ErrNoPrivilege},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, err := newKernel(c.genl, func() (*moby.Handle, error) {
				t.Error("moby was opened")
				return nil, nil
			})
			if k != nil || !errors.Is(err, c.want) {
				t.Errorf("got %v, %v; wanted %v", k, err, c.want)
			}
		})
	}
}

func TestErrnosMapToTheirCause(t *testing.T) {
	k := &Kernel{genl: kernelWith(t, fixedFamily(30, 0), 0), family: 30}
	for _, c := range []struct {
		errno unix.Errno
		want  error
	}{
		{unix.EPERM, netx.ErrNoPrivilege},
		{unix.EACCES, netx.ErrNoPrivilege},
		{unix.ESRCH, ErrNoService},
		{unix.ENOENT, ErrNoDestination},
		{unix.ERANGE, ErrInvalid},
		{unix.EINVAL, ErrInvalid},
		{unix.EAFNOSUPPORT, ErrInvalid},
		{unix.ENOMEM, unix.ENOMEM},
	} {
		got := k.explainErrno(&netlink.OpError{Op: "receive", Err: c.errno}, ErrNoDestination)
		if !errors.Is(got, c.want) {
			t.Errorf("%v became %v, wanted %v", c.errno, got, c.want)
		}
	}
	if err := k.explainErrno(nil, ErrNoDestination); err != nil {
		t.Errorf("success became %v", err)
	}
}

func TestUnloadedIPVSIsNotMistakenForAMissingDestination(t *testing.T) {
	for name, family := range map[string]func() (uint16, int){
		"unloaded":     fixedFamily(0, int(unix.ENOENT)),
		"loaded again": fixedFamily(31, 0),
	} {
		k := &Kernel{genl: kernelWith(t, family, 0), family: 30}
		if err := k.explainErrno(unix.ENOENT, ErrNoDestination); !errors.Is(err, netx.ErrNoIPVS) || errors.Is(err, ErrNoDestination) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWaitingForTheLockStopsWhenTheContextIsCancelled(t *testing.T) {
	k := &Kernel{lock: make(chan struct{}, 1)} // the token is taken
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- ApplyOne(ctx, k, DeleteService(Key{Mark: 7, Family: IPv4})) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestDestinationWireFormat(t *testing.T) {
	d := Destination{
		Address: netip.MustParseAddr("10.0.0.1"), Port: 0x1234, Forwarding: Tunnel, Weight: 0xabcd, Upper: 5, Lower: 4,
		Encap: Encap{Type: GUE, Port: 6080, Flags: 1},
	}
	got := encodeDestination(nil, Key{Mark: 7, Family: IPv6}, d)
	want := strings.Join([]string{
		"1400" + "0180", // the service
		"0600" + "0100" + "0a000000",
		"0800" + "0500" + "07000000",
		"6000" + "0280", // the destination
		"1400" + "0100" + "0a000001000000000000000000000000",
		"0600" + "0200" + "12340000",
		"0800" + "0300" + "02000000",
		"0800" + "0400" + "cdab0000",
		"0800" + "0500" + "05000000",
		"0800" + "0600" + "04000000",
		"0600" + "0b00" + "02000000",
		"0500" + "0d00" + "01000000",
		"0600" + "0e00" + "17c00000",
		"0600" + "0f00" + "01000000",
	}, "")
	if hex.EncodeToString(got) != want {
		t.Errorf("sent   %x\nwanted %s", got, want)
	}
	back, err := decodeDestination(IPv6, got)
	if err != nil || back != d {
		t.Errorf("read back %+v, %v", back, err)
	}
}

func TestDestinationsFromOtherProgramsAreDecoded(t *testing.T) {
	e := netlink.NewAttributeEncoder()
	e.Nested(attrDest, func(e *netlink.AttributeEncoder) error {
		e.Bytes(attrDestAddress, netip.MustParseAddr("fd00::1").AsSlice())
		e.Uint32(attrDestForwarding, 0x103) // flags such as NOOUTPUT above the lowest three bits
		e.Uint32(attrDestWeight, 100000)
		e.Uint32(attrDestActive, 70000)
		e.Uint32(attrDestInactive, 3)
		e.Nested(attrDestStats, func(e *netlink.AttributeEncoder) error {
			for a := uint16(attrStatsConns); a <= attrStatsBytesOut; a++ {
				e.Uint64(a, uint64(a)<<32)
			}
			e.Uint64(6, 9) // rates, not read
			return nil
		})
		e.Bytes(200, []byte("from a later kernel"))
		return nil
	})
	data, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	// Without its own family, as before Linux 3.18, it has the service's.
	got, err := decodeDestination(IPv6, data)
	want := Destination{Address: netip.MustParseAddr("fd00::1"), Forwarding: Route, Weight: 65535, ActiveConns: 70000, InactiveConns: 3,
		Stats: Stats{Connections: 1 << 32, PacketsIn: 2 << 32, PacketsOut: 3 << 32, BytesIn: 4 << 32, BytesOut: 5 << 32}}
	if err != nil || got != want {
		t.Errorf("read %+v, %v; wanted %+v", got, err, want)
	}
}

func FuzzDecodeDestination(f *testing.F) {
	f.Add([]byte(encodeDestination(nil, Key{Mark: 7, Family: IPv4}, Destination{Address: netip.MustParseAddr("10.0.0.1")})))
	f.Fuzz(func(t *testing.T, data []byte) {
		if d, err := decodeDestination(IPv4, data); err == nil && d.Address.Zone() != "" {
			t.Errorf("an address with a zone: %v", d)
		}
	})
}
