// Package ipvs reads and writes the kernel's load-balancing table, as far as services are chosen by firewall mark, and the settings and sync
// daemons that belong to it.
package ipvs

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Mark is a firewall mark, 1–4294967295.
type Mark uint32

// Weight is a destination's weight: 0 takes no new connection. Range 0–65535 (moby/ipvs reads 16 bits).
type Weight uint16

// Family is the address family of a service's virtual side. One mark may serve both, as two services.
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

// Key names a service.
type Key struct {
	Mark   Mark
	Family Family
}

// String gives the name that operators read, "mark 7" or "mark 7 (IPv6)".
func (k Key) String() string {
	if k.Family == IPv6 {
		return fmt.Sprintf("mark %d (IPv6)", k.Mark)
	}
	return fmt.Sprintf("mark %d", k.Mark)
}

// Flags are a service's flags as the kernel numbers them (linux/ip_vs.h).
type Flags uint32

// The flags that lb knows.
const (
	Persistent    Flags = 0x1  // clients stick to a node for Timeout
	OnePacket     Flags = 0x4  // each UDP packet is scheduled alone
	SchedFallback Flags = 0x8  // sh, mh: skip nodes of weight 0
	SchedPort     Flags = 0x10 // sh, mh: hash the source port too
)

// Service is one virtual service and its destinations.
type Service struct {
	Key
	Scheduler    string
	Flags        Flags
	Timeout      time.Duration // of persistence, whole seconds; 0 unless Persistent
	Prefix       uint8         // of persistence: how many leading bits of their addresses tell clients apart; 0 is all of them
	Destinations []Destination // sorted by address, then port
}

// Plain gives the service as it will be read back: a prefix as long as the address is none.
func (s Service) Canonical() Service {
	if s.Prefix == wholePrefix(s.Family) {
		s.Prefix = 0
	}
	return s
}

// Forwarding is how a packet gets to a destination, as the kernel numbers it (linux/ip_vs.h).
type Forwarding uint8

// The forwarding methods.
const (
	Masq   Forwarding = 0 // NAT
	Tunnel Forwarding = 2 // IPIP
	Route  Forwarding = 3 // direct routing
)

// String gives ipvsadm's word for the method.
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

// Encap is what a tunnel wraps packets in, as the kernel numbers it (linux/ip_vs.h). The zero value is IPIP.
type Encap struct {
	Type  EncapType
	Port  uint16 // of UDP, for GUE alone
	Flags uint16 // checksums; see TUNNEL_ENCAP_FLAG in linux/if_tunnel.h
}

// EncapType is a kind of tunnel.
type EncapType uint8

// The kinds of tunnel.
const (
	IPIP EncapType = 0
	GUE  EncapType = 1
	GRE  EncapType = 2
)

// Destination is one real server of a service.
type Destination struct {
	Address    netip.Addr
	Port       uint16 // 0 for marks: the port stays the packet's own
	Forwarding Forwarding
	Weight     Weight
	Upper      uint32 // connections above which it takes no new one, at most 2147483647; 0 is no limit
	Lower      uint32 // connections below which it takes new ones again
	Encap      Encap  // of Tunnel alone; zero is IPIP
	// What the kernel counts; ignored by PutDestination.
	ActiveConns   int
	InactiveConns int
	Stats         Stats
}

// Stats are what the kernel has counted for a destination since it is in its service.
type Stats struct {
	Connections uint64 `json:"connections"`
	PacketsIn   uint64 `json:"packets_in"` // to the destination
	PacketsOut  uint64 `json:"packets_out"`
	BytesIn     uint64 `json:"bytes_in"`
	BytesOut    uint64 `json:"bytes_out"` // 0 where it answers the client directly, as PacketsOut
}

// Errors of a Table. Kernel answers are wrapped with the operation and the object.
var (
	ErrNoService     = errors.New("no such service")
	ErrNoDestination = errors.New("no such destination")
	ErrNoScheduler   = errors.New("the kernel has no such scheduler")
	ErrInvalid       = errors.New("the kernel refuses these values")
)

// Table is the kernel's load-balancing table. Every implementation passes ipvstest.Run, which is the contract.
// An implementation may be used by several goroutines.
type Table interface {
	// Dump returns the services chosen by mark, sorted by mark and family, with their destinations.
	// Services chosen by address are not ours to see and are left out.
	Dump(ctx context.Context) ([]Service, error)
	// Apply makes the changes, in their order, and gives an error for each, nil where it is done. One that fails keeps no
	// later one from being tried. It is not atomic: whoever looks meanwhile sees a part of them done.
	Apply(ctx context.Context, changes []Change) []error
	// Daemons returns the connection-sync daemons that run, the master first.
	Daemons(ctx context.Context) ([]Daemon, error)
	// StartDaemon starts one; ErrRunning where one of that role runs.
	StartDaemon(ctx context.Context, d Daemon) error
	// StopDaemon stops the one of that role; ErrNoDaemon where none runs.
	StopDaemon(ctx context.Context, r Role) error
	// Close gives the kernel's handle back.
	Close() error
}
