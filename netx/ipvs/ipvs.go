// Package ipvs reads and writes the kernel's IPVS services that are selected by firewall mark, and the sysctls and sync
// daemons that belong to them.
package ipvs

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Mark is a firewall mark, 1 to 4294967295.
type Mark uint32

// Weight is a destination's weight, 0 to 65535 (moby/ipvs reads 16 bits). With 0 the destination gets no new
// connections.
type Weight uint16

// Family is the address family of a service's virtual IPs. A mark may have two services, one per family.
type Family uint8

// The address families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// FamilyOf returns the family of an address; IPv4-mapped IPv6 counts as IPv4.
func FamilyOf(a netip.Addr) Family {
	if a.Unmap().Is4() {
		return IPv4
	}
	return IPv6
}

// Key identifies a service.
type Key struct {
	Mark   Mark
	Family Family
}

// String returns the key as operators read it: "mark 7" or "mark 7 (IPv6)".
func (k Key) String() string {
	if k.Family == IPv6 {
		return fmt.Sprintf("mark %d (IPv6)", k.Mark)
	}
	return fmt.Sprintf("mark %d", k.Mark)
}

// Flags are a service's flags as the kernel numbers them (linux/ip_vs.h).
type Flags uint32

// The flags that lb uses.
const (
	Persistent    Flags = 0x1  // clients stick to a node for Timeout
	OnePacket     Flags = 0x4  // schedules each UDP packet on its own
	SchedFallback Flags = 0x8  // sh, mh: skip nodes of weight 0
	SchedPort     Flags = 0x10 // sh, mh: include the source port in the hash
)

// Service is one virtual service and its destinations.
type Service struct {
	Key
	Scheduler    string
	Flags        Flags
	Timeout      time.Duration // persistence timeout in whole seconds; 0 unless Persistent
	Prefix       uint8         // persistence granularity in leading address bits; 0 means the whole address
	Destinations []Destination // sorted by address, then port
}

// Canonical returns the service as the kernel reads it back: a prefix of full length is 0.
func (s Service) Canonical() Service {
	if s.Prefix == fullPrefix(s.Family) {
		s.Prefix = 0
	}
	return s
}

// Forwarding is a forwarding method, as the kernel numbers it (linux/ip_vs.h).
type Forwarding uint8

// The forwarding methods.
const (
	Masq   Forwarding = 0 // NAT
	Tunnel Forwarding = 2 // IPIP
	Route  Forwarding = 3 // direct routing
)

// String returns ipvsadm's name of the method.
func (f Forwarding) String() string {
	switch f {
	case Masq:
		return "masq"
	case Tunnel:
		return "tunnel"
	case Route:
		return "route"
	}
	return fmt.Sprintf("forwarding %d", uint8(f))
}

// Encap is the encapsulation of a tunnel, as the kernel numbers it (linux/ip_vs.h). The zero value is IPIP.
type Encap struct {
	Type  EncapType
	Port  uint16 // UDP port, for GUE only
	Flags uint16 // checksums; see TUNNEL_ENCAP_FLAG in linux/if_tunnel.h
}

// EncapType is a type of encapsulation.
type EncapType uint8

// The encapsulation types.
const (
	IPIP EncapType = 0
	GUE  EncapType = 1
	GRE  EncapType = 2
)

// Destination is one real server of a service.
type Destination struct {
	Address    netip.Addr
	Port       uint16 // 0 for services by mark: keep the packet's destination port
	Forwarding Forwarding
	Weight     Weight
	Upper      uint32 // above this number of connections it gets no new ones; at most 2147483647; 0 means no limit
	Lower      uint32 // below this number of connections it gets new ones again
	Encap      Encap  // for Tunnel only
	// Kernel counters; PutDestination ignores them.
	ActiveConns   int
	InactiveConns int
	Stats         Stats
}

// Stats are the kernel's counters for a destination since it was added to its service.
type Stats struct {
	Connections uint64 `json:"connections"`
	PacketsIn   uint64 `json:"packets_in"` // towards the destination
	PacketsOut  uint64 `json:"packets_out"`
	BytesIn     uint64 `json:"bytes_in"`
	BytesOut    uint64 `json:"bytes_out"` // like PacketsOut, 0 if replies bypass the balancer
}

// Errors of a Table. They are wrapped with the operation and the object.
var (
	ErrNoService     = errors.New("no such service")
	ErrNoDestination = errors.New("no such destination")
	ErrNoScheduler   = errors.New("the kernel has no such scheduler")
	ErrInvalid       = errors.New("the kernel rejects these values")
)

// Table is the kernel's IPVS table. Every implementation passes the conformance suite ipvstest.Run, which is the
// contract, and is safe for concurrent use.
type Table interface {
	// Dump returns the services selected by mark, sorted by mark and family, with their destinations. Services selected
	// by address are not lb's and are omitted.
	Dump(ctx context.Context) ([]Service, error)
	// Apply makes the changes in order and returns an error for each, nil on success. A failed change does not stop the
	// later ones. It is not atomic: a concurrent Dump may see part of the changes.
	Apply(ctx context.Context, changes []Change) []error
	// Daemons returns the running connection-sync daemons, master first.
	Daemons(ctx context.Context) ([]Daemon, error)
	// StartDaemon starts a daemon; ErrRunning if one of that role is running.
	StartDaemon(ctx context.Context, d Daemon) error
	// StopDaemon stops the daemon of that role; ErrNoDaemon if none is running.
	StopDaemon(ctx context.Context, r Role) error
	TimeoutTable
	// Close releases the handle.
	Close() error
}
