package machine

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"testing"
)

func TestMembersOfTheSyncGroupAreRead(t *testing.T) {
	group := fmt.Sprintf("%08X", binary.NativeEndian.Uint32([]byte{224, 0, 0, 81}))
	igmp := "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n" +
		"1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n" +
		"4\teth1      :     2      V3\n\t\t\t\t" + group + "     1 0:00000000\t\t1\n\t\t\t\t010000E0     1 0:00000000\t\t0\n" +
		"12\teth0.7    :     1      V3\n\t\t\t\t" + group + "     1 0:00000000\t\t1\n"
	if got := slices.Sorted(maps.Keys(syncMembers([]byte(igmp)))); !slices.Equal(got, []int{4, 12}) {
		t.Errorf("members %v, want 4 and 12", got)
	}
	if got := syncMembers(nil); len(got) > 0 {
		t.Errorf("members %v of nothing", got)
	}
}

func TestAMissingInterfaceIsFoundUnderItsNewName(t *testing.T) {
	state := func(was *State, links ...Link) *State {
		s := &State{Links: links}
		s.Renamed = renames(was, s)
		return s
	}
	s := state(&State{}, Link{Index: 2, Name: "eth0"}, Link{Index: 3, Name: "eth1"})
	if got := s.Missing("eth0") + s.Missing(""); got != "" {
		t.Error(got)
	}
	for _, c := range []struct {
		name  string
		links []Link
		want  string
	}{
		{"renamed", []Link{{Index: 2, Name: "wan0"}}, "interface eth0 is now named wan0"},
		{"nothing happened since", []Link{{Index: 2, Name: "wan0"}}, "interface eth0 is now named wan0"},
		{"renamed again", []Link{{Index: 2, Name: "wan1"}}, "interface eth0 is now named wan1"},
		{"another one has the name", []Link{{Index: 2, Name: "wan1"}, {Index: 7, Name: "eth0"}}, ""},
		{"it has its name again", []Link{{Index: 2, Name: "eth0"}}, ""},
		{"deleted", nil, "this machine has no interface eth0"},
		{"made again", []Link{{Index: 8, Name: "eth0"}}, ""},
	} {
		if s = state(s, c.links...); s.Missing("eth0") != c.want {
			t.Errorf("%s: %q, want %q", c.name, s.Missing("eth0"), c.want)
		}
	}
}
