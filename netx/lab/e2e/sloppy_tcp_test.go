//go:build lab

package e2e

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/braintree/lb/netx/lab/labtest"
)

// TestConnectionWithoutSYNIsAcceptedOnlyWithSloppyTCP sends a packet from the middle of a connection to a balancer that has not seen its
// SYN, as a router does after another balancer has failed.
func TestConnectionWithoutSYNIsAcceptedOnlyWithSloppyTCP(t *testing.T) {
	p := newBalancerPair(t)
	p.replaceService(t, 0, "1 100", "2 100")
	const rules = "table inet middle {\n counter middle {}\n chain in {\n type filter hook prerouting priority -150\n" +
		" tcp dport 443 meta mark set 7 counter name middle\n }\n}\n"
	if err := p.balancers[0].WriteFile("/run/middle.nft", []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	labtest.Run(t, p.balancers[0], "nft", "-f", "/run/middle.nft")
	known := func() (bool, string) {
		all := labtest.Run(t, p.balancers[0], "cat", "/proc/net/ip_vs_conn")
		return strings.Contains(all, "\nTCP "), all
	}
	for i, sloppy := range []string{"0", "1"} {
		if err := p.balancers[0].Sysctl("net/ipv4/vs/sloppy_tcp", sloppy); err != nil {
			t.Fatal(err)
		}
		if err := p.client.Do(func() error { return sendACK(p.addresses[0].As4(), 443) }); err != nil {
			t.Fatal(err)
		}
		labtest.Eventually(t, timeout, "the packet has arrived", func() (bool, string) {
			out := labtest.Run(t, p.balancers[0], "nft", "list", "counter", "inet", "middle", "middle")
			return strings.Contains(out, "packets "+[]string{"1", "2"}[i]), out
		})
		if i == 0 {
			if is, all := known(); is {
				t.Errorf("accepted without sloppy_tcp:\n%s", all)
			}
			continue
		}
		labtest.Eventually(t, timeout, "accepted with sloppy_tcp", known)
	}
}

// sendACK sends a bare ACK from port 4242.
func sendACK(to [4]byte, port uint16) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	segment := make([]byte, 20)
	segment[0], segment[1], segment[2], segment[3] = 4242>>8, 4242&0xff, byte(port>>8), byte(port)
	segment[12], segment[13] = 5<<4, 0x10 // header length in 32-bit words, flag ACK
	return unix.Sendto(fd, segment, 0, &unix.SockaddrInet4{Addr: to})
}
