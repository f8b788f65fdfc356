package vip

import (
	"encoding/hex"
	"net"
	"net/netip"
	"testing"
)

func TestPacketsOnTheWire(t *testing.T) {
	mac := net.HardwareAddr{0x02, 'l', 'b', 0, 0, 1}
	v4, v6 := netip.MustParseAddr("10.9.0.100"), netip.MustParseAddr("fd09::100")
	tests := []struct {
		name string
		got  []byte
		want string
	}{
		{"gratuitous request", arp(arpRequest, mac, v4), "0001080006040001" + "026c62000001" + "0a090064" + "000000000000" + "0a090064"},
		{"gratuitous reply", arp(arpReply, mac, v4), "0001080006040002" + "026c62000001" + "0a090064" + "ffffffffffff" + "0a090064"},
		// The checksum is worked out by hand: fd09+0100 source, ff02+0001 destination, 0020 length, 003a protocol, 8800 type,
		// 2000 flags, fd09+0100 target, 0201 option, 026c+6200+0001 address; their sum 409dd carried is 09e1, whose complement it is.
		{"unsolicited advertisement", advertisement(mac, v6), "6000000000203aff" + "fd090000000000000000000000000100" +
			"ff020000000000000000000000000001" + "8800" + "f61e" + "20000000" + "fd090000000000000000000000000100" + "0201" + "026c62000001"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := hex.EncodeToString(tt.got); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}
