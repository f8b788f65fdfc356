package doctor

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/braintree/lb/netx/mark"
)

func TestDoctorListsWhatChangesMarks(t *testing.T) {
	in := mark.Inspection{Foreign: []mark.Foreign{
		{Kind: mark.ChangesMarks, What: "chain inet a c sets marks", Show: "`nft list table inet a`", Always: true},
		{Kind: mark.ChangesMarks, What: "chain inet b c sets marks", Show: "`nft list table inet b`"},
		{Kind: mark.Drops, What: "chain inet filter input drops packets", Show: "`nft list table inet filter`"},
		{Kind: mark.Routes, What: "ip rule 10 sends packets with mark 7 elsewhere", Show: "`ip -4 rule list pref 10`", Always: true},
		{Kind: mark.Harmless, What: "chain inet early c sets marks before lb's rules do", Always: true},
	}}
	const why = "packets for virtual IPs do not reach IPVS with the mark of their cluster, and clients get no answer"
	want := "bad:  chain inet a c sets marks: " + why +
		"\n  → let it leave lb's marks and packets alone; `nft list table inet a` shows it\n" +
		"unknown: chain inet b c sets marks, of some packets: if lb's are among them, clients get no answer\n" +
		"  → let it leave lb's marks and packets alone; `nft list table inet b` shows it\n" +
		"bad:  ip rule 10 sends packets with mark 7 elsewhere: " + why +
		"\n  → let it leave lb's marks and packets alone; `ip -4 rule list pref 10` shows it\n" +
		"good: chain inet early c sets marks before lb's rules do\n"
	if diff := cmp.Diff(want, lines(examineMarks(in))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	in.Foreign = in.Foreign[2:3]
	if diff := cmp.Diff("good: nothing changes marks between lb's rules and IPVS\n", lines(examineMarks(in))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
