//go:build lab

package tunnel_test

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/braintree/lb/netx/lab"
	"github.com/braintree/lb/netx/lab/labtest"
)

// synAckSizes captures the packets that reach the host. The function that it returns waits for the SYN-ACK from a
// server and returns the MSS in it.
func synAckSizes(t *testing.T, h *lab.Host) func(server netip.AddrPort) int {
	t.Helper()
	var file *os.File
	err := h.Do(func() error {
		protocol := binary.NativeEndian.Uint16([]byte{0x08, 0x00}) // IPv4, in network byte order
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, int(protocol))
		if err != nil {
			return err
		}
		file = os.NewFile(uintptr(fd), "packets")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex // protects seen
	seen := map[netip.AddrPort]int{}
	ended := make(chan error, 1)
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, err := file.Read(buf)
			if err != nil {
				ended <- err
				return
			}
			if server, size, ok := parseSynAck(buf[:n]); ok {
				mu.Lock()
				seen[server] = size
				mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() {
		file.Close()
		if err := <-ended; !errors.Is(err, os.ErrClosed) {
			t.Errorf("the capture ended: %v", err)
		}
	})
	return func(server netip.AddrPort) int {
		t.Helper()
		var size int
		labtest.Eventually(t, patience, "a SYN-ACK from "+server.String()+" arrives", func() (bool, string) {
			mu.Lock()
			defer mu.Unlock()
			size = seen[server]
			return size != 0, "other packets"
		})
		return size
	}
}

// parseSynAck returns source and MSS of an IPv4 TCP packet with SYN and ACK.
func parseSynAck(p []byte) (netip.AddrPort, int, bool) {
	if len(p) < 20 || p[0]>>4 != 4 || p[9] != unix.IPPROTO_TCP {
		return netip.AddrPort{}, 0, false
	}
	source := netip.AddrFrom4([4]byte(p[12:16]))
	segment := p[int(p[0]&15)*4:]
	if len(segment) < 20 || segment[13]&0x12 != 0x12 {
		return netip.AddrPort{}, 0, false
	}
	server := netip.AddrPortFrom(source, binary.BigEndian.Uint16(segment))
	options := segment[20 : int(segment[12]>>4)*4]
	for len(options) >= 2 && options[0] != 0 {
		switch {
		case options[0] == 1:
			options = options[1:]
		case options[0] == 2 && len(options) >= 4:
			return server, int(binary.BigEndian.Uint16(options[2:])), true
		default:
			options = options[max(2, min(int(options[1]), len(options))):]
		}
	}
	return server, 0, false
}
