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

// fleet loads the configuration of the golden files, which Pacemaker's tools load as well.
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

// format formats the groups as crm, pcs or xml.
func format(t *testing.T, form string, groups []Group) []byte {
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

func TestEachFormMatchesItsGoldenFile(t *testing.T) {
	groups, err := Groups(fleet(t), nil, Paths{Config: "/srv/l b/lb.toml", Control: "/run/b=1.sock"})
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{"crm", "pcs", "xml"} {
		t.Run(form, func(t *testing.T) {
			golden.Compare(t, "testdata/fleet."+form, string(format(t, form, groups)))
		})
	}
}

func TestTheOrderOfClustersChangesNothing(t *testing.T) {
	clusters := fleet(t)
	want, err := Groups(clusters, nil, Paths{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range clusters {
		rotated := append(slices.Clone(clusters[i:]), clusters[:i]...)
		if i%2 == 1 {
			slices.Reverse(rotated)
		}
		got, err := Groups(rotated, nil, Paths{})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(CRM(got), CRM(want)) {
			t.Errorf("rotated by %d:\n%s", i, CRM(got))
		}
	}
}

// describe writes one line for each group: "GROUP: RESOURCES".
func describe(groups []Group) string {
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

// chained has clusters that share addresses in a chain, a with b and b with c, and d, which shares none.
const chained = `
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
		"one includes others": {[]string{"c"}, abc},
		"one alone":           {[]string{"d"}, d},
		"order is by name":    {[]string{"d", "b"}, abc + "\n" + d},
	}
	clusters := read(t, chained)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			groups, err := Groups(clusters, tt.names, Paths{})
			if err != nil {
				t.Fatal(err)
			}
			if got := describe(groups); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
			if g := groups[0]; g.ID == "group-a" && fmt.Sprint(g.Prefer) != "[{prefer-a-1 load02 10}]" {
				t.Errorf("prefer %v, want that of the only cluster that has one", g.Prefer)
			}
		})
	}
}

func TestGroupsRejectsWhatPacemakerCannotExpress(t *testing.T) {
	tests := map[string]struct {
		from, to string
		paths    Paths
		want     string
	}{
		"different preferences for one address": {"fwmark = 1\n", "fwmark = 1\nprefer = [\"load01\"]\n", Paths{},
			"the clusters a and b share a virtual IP, so they run on the same machine, but prefer different ones: " +
				"give both the same prefer"},
		"one address on two interfaces": {`{ address = "192.0.2.2", ports = [443] }`,
			`{ address = "192.0.2.2", interface = "eth0", ports = [443] }, { address = "192.0.2.2", interface = "eth1", ports = [444] }`,
			Paths{},
			"the virtual IP 192.0.2.2 of b has two interfaces, eth0 and eth1, but IPaddr2 can put it on one only: " +
				"use the same interface for both"},
		"unusual path": {"", "", Paths{Config: "/srv/it's/lb.toml"},
			`config of cluster-a is "/srv/it's/lb.toml", which not all of Pacemaker's tools accept: ` +
				`use only letters, digits, spaces and _ . / : @ % + , = ~ -`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Groups(read(t, strings.Replace(chained, tt.from, tt.to, 1)), nil, tt.paths)
			if err == nil || err.Error() != tt.want {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}

func TestPreferencesNeverOutweighStickiness(t *testing.T) {
	machines := make([]string, 32) // the most that the configuration allows
	for i := range machines {
		machines[i] = fmt.Sprintf("load%02d", i)
	}
	groups, err := Groups([]config.Cluster{{Name: "web", Prefer: machines}}, nil, Paths{})
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range groups[0].Prefer {
		if p.Score <= 0 || p.Score >= stickiness || i > 0 && p.Score >= groups[0].Prefer[i-1].Score {
			t.Errorf("%+v", p)
		}
	}
}

// TestDocsShowTheOutput compares docs/pacemaker.md with the output for the README's configuration with two preferences.
func TestDocsShowTheOutput(t *testing.T) {
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
`), nil, Paths{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(CRM(groups)), shown); diff != "" {
		t.Errorf("docs/pacemaker.md (-want +got):\n%s", diff)
	}
}
