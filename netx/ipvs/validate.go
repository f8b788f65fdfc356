package ipvs

import (
	"fmt"
	"math"
	"net/netip"
	"time"
)

const (
	// flagHashed is internal to the kernel (IP_VS_SVC_F_HASHED): never set or shown.
	flagHashed Flags = 0x2

	knownFlags = Persistent | OnePacket | SchedFallback | SchedPort

	// maxTimeout is ipvsadm's limit. The kernel counts ticks in 32 bits, which silently wrap around after 49 days.
	maxTimeout = 31 * 24 * time.Hour

	// maxThreshold is the limit of Linux 6.1 and ipvsadm.
	maxThreshold = math.MaxInt32

	// maxSchedulerName is IP_VS_SCHEDNAME_MAXLEN without the terminating zero byte.
	maxSchedulerName = 15
)

// Prefix lengths of a full address, and the value for a netmask that is no prefix, which only other programs set.
const (
	fullPrefixIPv4 = 32
	fullPrefixIPv6 = 128
	invalidPrefix  = 255
)

// The operations, as named in errors and Calls.
const (
	opDump              = "dump"
	opPutService        = "put service"
	opDeleteService     = "delete service"
	opPutDestination    = "put destination"
	opDeleteDestination = "delete destination"
)

// operation names an operation and its object for errors: "put destination 10.0.0.3 in mark 7".
type operation struct {
	verb    string
	key     Key
	address netip.Addr
	port    uint16
}

func (o operation) String() string {
	switch {
	case o.verb == opDump:
		return "dump the load-balancing table"
	case !o.address.IsValid():
		return fmt.Sprintf("%s %s", o.verb, o.key)
	case o.port != 0:
		return fmt.Sprintf("%s %s in %s", o.verb, netip.AddrPortFrom(o.address, o.port), o.key)
	}
	return fmt.Sprintf("%s %s in %s", o.verb, o.address, o.key)
}

func (o operation) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", o, err)
}

// validateKey rejects mark 0, which would mean "selected by address" to the kernel, and unknown families.
func validateKey(k Key) error {
	if k.Mark == 0 {
		return fmt.Errorf("%w: mark 0 is invalid, marks are 1 to 4294967295", ErrInvalid)
	}
	if k.Family != IPv4 && k.Family != IPv6 {
		return fmt.Errorf("%w: family %d is neither IPv4 (4) nor IPv6 (6)", ErrInvalid, k.Family)
	}
	return nil
}

func validateService(s Service) error {
	if err := validateKey(s.Key); err != nil {
		return err
	}
	if unknown := s.Flags &^ knownFlags; unknown != 0 {
		return fmt.Errorf("%w: unknown service flags %#x", ErrInvalid, uint32(unknown))
	}
	if s.Flags&Persistent == 0 && s.Timeout != 0 {
		return fmt.Errorf("%w: a timeout of %v needs persistence", ErrInvalid, s.Timeout)
	}
	if s.Flags&Persistent != 0 && (s.Timeout < time.Second || s.Timeout > maxTimeout || s.Timeout%time.Second != 0) {
		return fmt.Errorf("%w: the persistence timeout must be whole seconds from 1s to %v, not %v", ErrInvalid, maxTimeout, s.Timeout)
	}
	if full := fullPrefix(s.Family); s.Prefix > full || s.Prefix > 0 && s.Flags&Persistent == 0 {
		return fmt.Errorf("%w: a prefix of %d bits needs persistence and may have at most %d bits", ErrInvalid, s.Prefix, full)
	}
	if s.Scheduler == "" || len(s.Scheduler) > maxSchedulerName {
		return schedulerError(s.Scheduler)
	}
	return nil
}

func fullPrefix(f Family) uint8 {
	if f == IPv6 {
		return fullPrefixIPv6
	}
	return fullPrefixIPv4
}

func schedulerError(name string) error {
	return fmt.Errorf("%w: %q: load it with `modprobe ip_vs_NAME`; `ls /lib/modules/$(uname -r)/kernel/net/netfilter/ipvs` lists them",
		ErrNoScheduler, name)
}

// validateAddress returns the address in the kernel's form: an IPv4-mapped one becomes IPv4.
func validateAddress(a netip.Addr) (netip.Addr, error) {
	a = a.Unmap()
	if !a.IsValid() {
		return a, fmt.Errorf("%w: no address", ErrInvalid)
	}
	if a.Zone() != "" {
		return a, fmt.Errorf("%w: the address %s has a zone, which destinations do not support", ErrInvalid, a)
	}
	return a, nil
}

// validateDestination rejects what the kernel would reject with a bare errno, and forwarding methods that lb does not
// set.
func validateDestination(k Key, d Destination) error {
	if err := validateKey(k); err != nil {
		return err
	}
	switch d.Forwarding {
	case Tunnel:
	case Masq, Route:
		if FamilyOf(d.Address) != k.Family {
			return fmt.Errorf("%w: a service with destinations of the other IP version needs tunnel forwarding", ErrInvalid)
		}
		if d.Encap != (Encap{}) {
			return fmt.Errorf("%w: encapsulation needs tunnel forwarding", ErrInvalid)
		}
	default:
		return fmt.Errorf("%w: %s is not masq, tunnel or route", ErrInvalid, d.Forwarding)
	}
	if d.Encap.Type > GRE || (d.Encap.Type == GUE) != (d.Encap.Port != 0) || (d.Encap.Type == IPIP && d.Encap.Flags != 0) {
		return fmt.Errorf("%w: encapsulation type %d, port %d, flags %#x: only GUE has a port, and IPIP has no flags",
			ErrInvalid, d.Encap.Type, d.Encap.Port, d.Encap.Flags)
	}
	if d.Upper > maxThreshold {
		return fmt.Errorf("%w: the upper threshold %d is above %d", ErrInvalid, d.Upper, maxThreshold)
	}
	if d.Lower > d.Upper {
		return fmt.Errorf("%w: the lower threshold %d is above the upper threshold %d", ErrInvalid, d.Lower, d.Upper)
	}
	return nil
}
