//go:build tools

package pacemaker

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// step is one step of TestOnlyAddressesMove.
type step struct {
	name string
	from string   // the step before it
	do   []string // options of crm_simulate that cause the step
	want string   // Pacemaker's actions, in order
}

// TestOnlyAddressesMove asks Pacemaker's own scheduler for its actions: an address waits for its cluster when both start, and for nothing
// when it moves.
func TestOnlyAddressesMove(t *testing.T) {
	groups, err := Groups(read(t, `[clusters.web]
fwmark = 7
prefer = ["load01", "load02.example.com"]
vips   = [ { address = "192.0.2.1", ports = [443] } ]
nodes  = [ { address = "10.0.0.1" } ]
`), nil, Paths{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	state := func(name string) string { return filepath.Join(dir, name+".xml") }
	if err := os.WriteFile(state("nothing"), []byte(strings.Replace(machines, "<cib ", `<cib have-quorum="1" `, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, state("nothing"), format(t, "xml", groups), "cibadmin", "--modify", "--allow-create", "--xml-pipe")
	all := []string{"--node-up", "load01", "--node-up", "load02.example.com", "--node-up", "load03"}
	for _, c := range []step{
		{"cold", "nothing", all,
			"cluster start on load01, cluster start on load02.example.com, cluster start on load03, address start on load01"},
		{"the machine with the address goes down", "cold", []string{"--node-down", "load01"}, "address start on load02.example.com"},
		{"it comes back", "the machine with the address goes down", []string{"--node-up", "load01"}, "cluster start on load01"},
		{"the cluster fails there", "cold", []string{"--op-inject", "cluster-web:0_monitor_5000@load01=1"},
			"address stop on load01, address start on load02.example.com, cluster stop on load01"},
		{"the machine loses quorum", "cold", []string{"--quorum", "0", "--node-down", "load03"},
			"address stop on load01, cluster stop on load01, cluster stop on load02.example.com"},
	} {
		t.Run(c.name, func(t *testing.T) {
			options := append([]string{"--xml-file", state(c.from), "--save-output", state(c.name), "--simulate"}, c.do...)
			out, err := exec.CommandContext(t.Context(), "crm_simulate", options...).CombinedOutput()
			if err != nil {
				t.Fatalf("crm_simulate %q: %v\n%s", options, err, out)
			}
			if got := actions(string(out)); got != c.want {
				t.Errorf("Pacemaker would\n%s\nwant\n%s\n%s", got, c.want, out)
			}
		})
	}
}

// actions lists the starts and stops in the output of crm_simulate. A clone's instances come in any order, so neighbours with the same
// action are sorted.
func actions(text string) string {
	var list []string
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) != 7 || words[1] != "Resource" || words[4] != "start" && words[4] != "stop" {
			continue
		}
		what := "address"
		if strings.HasPrefix(words[3], "cluster-web") {
			what = "cluster"
		}
		action := strings.Join([]string{what, words[4], "on", words[6]}, " ")
		if !slices.Contains(list, action) { // a failed instance is listed twice
			list = append(list, action)
		}
	}
	for from := 0; from < len(list); {
		to := from
		for to < len(list) && strings.HasPrefix(list[to], list[from][:len("cluster start")]) {
			to++
		}
		slices.Sort(list[from:to])
		from = to
	}
	return strings.Join(list, ", ")
}
