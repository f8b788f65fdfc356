package pacemaker

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/golden"
)

// fleet is the configuration that the goldens are made from, and that Pacemaker's tools load.
func fleet(t *testing.T) []config.Cluster {
	t.Helper()
	cfg, err := config.Load("testdata/fleet.toml", nil)
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Clusters
}

func read(t *testing.T, text string) []config.Cluster {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lb.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Clusters
}

// print gives what a form makes of the groups.
func print(t *testing.T, form string, groups []Group) []byte {
	t.Helper()
	switch form {
	case "crm":
		return CRM(groups)
	case "pcs":
		return PCS(groups)
	}
	text, err := XML(groups)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestEachFormIsAsItsGolden(t *testing.T) {
	groups, err := Groups(fleet(t), nil, Place{Config: "/srv/l b/lb.toml", Control: "/run/b=1.sock"})
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{"crm", "pcs", "xml"} {
		t.Run(form, func(t *testing.T) {
			golden.Compare(t, "testdata/fleet."+form, string(print(t, form, groups)))
		})
	}
}

func TestTheOrderOfClustersChangesNothing(t *testing.T) {
	clusters := fleet(t)
	want, err := Groups(clusters, nil, Place{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range clusters {
		turned := append(slices.Clone(clusters[i:]), clusters[:i]...)
		if i%2 == 1 {
			slices.Reverse(turned)
		}
		got, err := Groups(turned, nil, Place{})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(CRM(got), CRM(want)) {
			t.Errorf("turned by %d:\n%s", i, CRM(got))
		}
	}
}

// members writes the groups as "GROUP: RESOURCES", one a line.
func members(groups []Group) string {
	var lines []string
	for _, g := range groups {
		var ids []string
		for _, r := range g.resources() {
			ids = append(ids, r.ID)
		}
		lines = append(lines, g.ID+": "+strings.Join(ids, " "))
	}
	return strings.Join(lines, "\n")
}

// three are clusters that share addresses in a chain: a with b, and b with c.
const three = `
[clusters.c]
fwmark = 3
vips = [ { address = "192.0.2.2", ports = [25] } ]
nodes = [ { address = "10.0.0.1" } ]
[clusters.a]
fwmark = 1
vips = [ { address = "192.0.2.1", ports = [80] } ]
nodes = [ { address = "10.0.0.1" } ]
[clusters.d]
fwmark = 4
vips = [ { address = "192.0.2.3", ports = [25] } ]
nodes = [ { address = "10.0.0.1" } ]
[clusters.b]
fwmark = 2
prefer = ["load02"]
vips = [ { address = "192.0.2.1", ports = [443] }, { address = "192.0.2.2", ports = [443] } ]
nodes = [ { address = "10.0.0.1" } ]
`

func TestClustersThatShareAnAddressRunTogether(t *testing.T) {
	const abc, d = "group-a: cluster-a cluster-b cluster-c vip-192.0.2.1 vip-192.0.2.2", "group-d: cluster-d vip-192.0.2.3"
	tests := map[string]struct {
		names []string
		want  string
	}{
		"all":                 {nil, abc + "\n" + d},
		"one brings others":   {[]string{"c"}, abc},
		"one of its own":      {[]string{"d"}, d},
		"order is the tool's": {[]string{"d", "b"}, abc + "\n" + d},
	}
	clusters := read(t, three)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			groups, err := Groups(clusters, tt.names, Place{})
			if err != nil {
				t.Fatal(err)
			}
			if got := members(groups); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
			if g := groups[0]; g.ID == "group-a" && fmt.Sprint(g.Prefer) != "[{prefer-a-1 load02 10}]" {
				t.Errorf("prefer %v, want that of the one cluster that has any", g.Prefer)
			}
		})
	}
}

func TestWhatPacemakerCannotCarryIsRefused(t *testing.T) {
	tests := map[string]struct {
		from, to string
		at       Place
		want     string
	}{
		"other preferences for one address": {"fwmark = 1\n", "fwmark = 1\nprefer = [\"load01\"]\n", Place{},
			"the clusters a and b share a virtual IP, so they run in the same place, and prefer different ones: give both the same prefer"},
		"one address on two interfaces": {`{ address = "192.0.2.2", ports = [443] }`,
			`{ address = "192.0.2.2", interface = "eth0", ports = [443] }, { address = "192.0.2.2", interface = "eth1", ports = [444] }`, Place{},
			"the virtual IP 192.0.2.2 of b comes in by eth0 and by eth1, and IPaddr2 puts it on one of them: write one interface for it"},
		"odd path": {"", "", Place{Config: "/srv/it's/lb.toml"},
			`config of cluster-a would be "/srv/it's/lb.toml", and Pacemaker's tools do not all take such characters: use letters, digits and _ . / : @ % + , = ~ - only`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Groups(read(t, strings.Replace(three, tt.from, tt.to, 1)), nil, tt.at)
			if err == nil || err.Error() != tt.want {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}

func TestPreferencesNeverOutweighStickiness(t *testing.T) {
	machines := make([]string, 32) // the most that the configuration takes
	for i := range machines {
		machines[i] = fmt.Sprintf("load%02d", i)
	}
	groups, err := Groups([]config.Cluster{{Name: "web", Prefer: machines}}, nil, Place{})
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range groups[0].Prefer {
		if p.Score <= 0 || p.Score >= stickiness || i > 0 && p.Score >= groups[0].Prefer[i-1].Score {
			t.Errorf("%+v", p)
		}
	}
}

// TestThePageShowsWhatIsPrinted compares docs/pacemaker.md with what a configuration as in the README gives, with two preferences.
func TestThePageShowsWhatIsPrinted(t *testing.T) {
	page, err := os.ReadFile("../../docs/pacemaker.md")
	if err != nil {
		t.Fatal(err)
	}
	_, shown, _ := strings.Cut(string(page), "<!-- group -->\n```\n")
	shown, _, _ = strings.Cut(shown, "```\n")
	groups, err := Groups(read(t, `[clusters.webapp]
fwmark = 7
prefer = ["load01", "load02"]
vips   = [ { address = "204.109.13.7", interface = "eth10", ports = [443] } ]
nodes  = [ { address = "10.0.0.1" } ]
`), nil, Place{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(CRM(groups)), shown); diff != "" {
		t.Errorf("docs/pacemaker.md (-want +got):\n%s", diff)
	}
}
