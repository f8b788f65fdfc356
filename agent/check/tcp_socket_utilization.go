package check

import (
	"context"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/braintree/lb/config"
)

// tcpSocketUtilization is a metric that falls when connections wait to be accepted on a TCP port of this machine.
type tcpSocketUtilization struct {
	socketUtilization
	address netip.AddrPort
}

func newTCPSocketUtilization(c config.Check, _ Host) Check {
	o := c.Options
	written := o.String("address", "")
	m := tcpSocketUtilization{socketUtilization: socketUtilization{
		weight: c.Weight, timeout: c.Timeout, maxconn: decodeMaxconn(o), name: "TcpSocketUtilization", where: "address: " + written,
	}}
	problem := ""
	address, err := netip.ParseAddrPort(written)
	switch {
	case written == "":
		problem = "is missing"
	case err != nil:
		problem = "is not an IP address and a port"
	case address.Port() == 0:
		problem = "has a port outside 1 to 65535"
	case address.Addr().Zone() != "":
		problem = "has a zone"
	}
	if problem != "" {
		o.Invalid("address", problem, `give the address that the service listens on, such as "127.0.0.1:3000", "0.0.0.0:80" or "[::]:80"`)
	}
	m.address = netip.AddrPortFrom(address.Addr().Unmap(), address.Port())
	return m
}

func (m tcpSocketUtilization) Run(ctx context.Context) Result {
	use, err := tcpSocketUse(ctx, m.address)
	return m.result(ctx, use, err)
}

// tcpSocketUse queries the kernel for the listeners at an address and their connections.
func tcpSocketUse(ctx context.Context, address netip.AddrPort) (socketUse, error) {
	var listening []inetSocket
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		err := dumpSockets(ctx, inetRequest(family, stateListen, address.Port()), func(message []byte) error {
			s, err := parseInet(message)
			if err == nil && s.local.Port() == address.Port() {
				listening = append(listening, s)
			}
			return err
		})
		if err != nil {
			return socketUse{}, err
		}
	}
	listening = listenersFor(listening, address.Addr())
	use := socketUse{listeners: len(listening)}
	families := map[uint8]bool{}
	for _, l := range listening {
		use.queued += l.queued
		families[family(l)] = true
	}
	if len(listening) == 0 {
		return use, nil
	}
	where := listening[0].local.Addr()
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if !families[family] {
			continue
		}
		err := dumpSockets(ctx, inetRequest(family, stateEstablished, address.Port()), func(message []byte) error {
			s, err := parseInet(message)
			if err == nil && s.accepted && s.local.Port() == address.Port() && (where.IsUnspecified() || s.local.Addr() == where) {
				use.active++
			}
			return err
		})
		if err != nil {
			return socketUse{}, err
		}
	}
	return use, nil
}

func family(s inetSocket) uint8 {
	if s.v6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// listenersFor selects, as the kernel does, the listeners of a port that accept connections to an address:
// those bound to exactly this address; otherwise those bound to the wildcard address of its family;
// otherwise, for IPv4, those of a dual-stack IPv6 wildcard.
func listenersFor(listening []inetSocket, address netip.Addr) []inetSocket {
	var exact, wildcard, dual []inetSocket
	for _, s := range listening {
		at := s.local.Addr()
		switch {
		case at == address:
			exact = append(exact, s)
		case at.IsUnspecified() && at.Is4() == address.Is4():
			wildcard = append(wildcard, s)
		case at.IsUnspecified() && s.v6 && !s.v6only:
			dual = append(dual, s)
		}
	}
	for _, found := range [][]inetSocket{exact, wildcard, dual} {
		if len(found) > 0 {
			return found
		}
	}
	return nil
}
