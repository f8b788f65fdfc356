package mark

import (
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

func TestOnlyChangesByOthersToTheTableConcernIt(t *testing.T) {
	const own, other = 4711, 4712
	notification := func(port uint32, message uint16, family byte, table string) netlink.Message {
		data, err := netlink.MarshalAttributes([]netlink.Attribute{
			{Type: unix.NFTA_TABLE_NAME, Data: append([]byte(table), 0)}, {Type: 3, Data: []byte("prerouting\x00")},
		})
		if err != nil {
			t.Fatal(err)
		}
		return netlink.Message{
			Header: netlink.Header{PID: port, Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | message)},
			Data:   append([]byte{family, 0, 0, 0}, data...),
		}
	}
	for _, tt := range []struct {
		name string
		m    netlink.Message
		want bool
	}{
		{"the table is deleted", notification(other, unix.NFT_MSG_DELTABLE, unix.NFPROTO_INET, "lb"), true},
		{"a rule is added to it", notification(other, unix.NFT_MSG_NEWRULE, unix.NFPROTO_INET, "lb"), true},
		{"an element is deleted", notification(0, unix.NFT_MSG_DELSETELEM, unix.NFPROTO_INET, "lb"), true},
		{"lb does so itself", notification(own, unix.NFT_MSG_DELSETELEM, unix.NFPROTO_INET, "lb"), false},
		{"another table", notification(other, unix.NFT_MSG_DELTABLE, unix.NFPROTO_INET, "lb2"), false},
		{"a table of another family", notification(other, unix.NFT_MSG_DELTABLE, unix.NFPROTO_IPV4, "lb"), false},
		{"nothing", netlink.Message{Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES << 8)}}, false},
		{"another subsystem", netlink.Message{Header: netlink.Header{Type: 1 << 8}, Data: make([]byte, 8)}, false},
	} {
		if got := concernsTable(tt.m, own); got != tt.want {
			t.Errorf("%s: %t", tt.name, got)
		}
	}
}

// FuzzForeignRules reads what other programs may have put into nftables.
func FuzzForeignRules(f *testing.F) {
	f.Add([]byte{unix.NFPROTO_INET, 0, 0, 0, 8, 0, unix.NFTA_CHAIN_TABLE, 0, 'a', 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		key, exprs := parseRule(data)
		effects := chainEffects{}
		effects.add(exprs)
		if c, ok := parseChain(data); ok && c.family != key.family {
			t.Errorf("family %d and %d", c.family, key.family)
		}
	})
}
