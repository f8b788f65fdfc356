//go:build tools

package pacemaker

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// agentLink is where Pacemaker looks for the agent. Its tools read the agent's meta-data before they accept a resource of it.
const agentLink = "/usr/lib/ocf/resource.d/braintree/bigbrother"

// schema is the latest of Pacemaker's schemas in Debian 12.
const schema = "/usr/share/pacemaker/pacemaker-3.9.rng"

// machines is a configuration of Pacemaker with balancers and no resources.
const machines = `<cib crm_feature_set="3.16.1" validate-with="pacemaker-3.9" epoch="1" num_updates="0" admin_epoch="0">
  <configuration>
    <crm_config>
      <cluster_property_set id="cib-bootstrap-options">
        <nvpair id="cib-bootstrap-options-stonith-enabled" name="stonith-enabled" value="false"/>
      </cluster_property_set>
    </crm_config>
    <nodes>
      <node id="1" uname="load01"/>
      <node id="2" uname="load02.example.com"/>
      <node id="3" uname="load03"/>
    </nodes>
    <resources/>
    <constraints/>
  </configuration>
  <status/>
</cib>
`

// install links the lb under test as Pacemaker's agent while the test runs.
func install(t *testing.T) {
	t.Helper()
	lb := os.Getenv("LB_BIN")
	if lb == "" {
		t.Fatal("LB_BIN is not set: give it the path of the lb to test, as scripts/test does")
	}
	if err := os.MkdirAll(filepath.Dir(agentLink), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(agentLink); err != nil && !errors.Is(err, fs.ErrNotExist) { // an interrupted run leaves it
		t.Fatal(err)
	}
	if err := os.Symlink(lb, agentLink); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(agentLink); err != nil {
			t.Error(err)
		}
		_ = os.Remove(filepath.Dir(agentLink)) // unless something else is in it
	})
}

// tool runs a tool of Pacemaker on the configuration in the file cib.
func tool(t *testing.T, cib string, input []byte, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), "CIB_file="+cib)
	cmd.Stdin = bytes.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// canonical returns the canonical XML of a configuration, without the version that every load increments.
func canonical(t *testing.T, cib string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "xmllint", "--xpath", "/cib/configuration", "--noblanks", cib).Output()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "xmllint", "--c14n", "-")
	cmd.Stdin = bytes.NewReader(out)
	if out, err = cmd.Output(); err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestPacemakersToolsAcceptEachFormTwice(t *testing.T) {
	install(t)
	unusual := Paths{Config: "/srv/l b/lb.toml", Control: "/run/b=1.sock"}
	loaded := map[string]string{}
	for _, form := range []struct {
		name    string
		command []string
		names   []string // of the clusters; nil: all
	}{
		{"crm", []string{"crm", "configure", "load", "update", "-"}, nil},
		{"xml", []string{"cibadmin", "--modify", "--allow-create", "--xml-pipe"}, nil},
		{"pcs", []string{"sh"}, []string{"7.example.com"}}, // one cluster: each command of pcs takes a second
	} {
		t.Run(form.name, func(t *testing.T) {
			groups, err := Groups(fleet(t), form.names, unusual)
			if err != nil {
				t.Fatal(err)
			}
			cib := filepath.Join(t.TempDir(), "cib.xml")
			if err := os.WriteFile(cib, []byte(machines), 0o600); err != nil {
				t.Fatal(err)
			}
			input := format(t, form.name, groups)
			tool(t, cib, input, form.command[0], form.command[1:]...)
			once := canonical(t, cib)
			tool(t, cib, input, form.command[0], form.command[1:]...)
			if twice := canonical(t, cib); twice != once {
				t.Errorf("loaded once:\n%s\ntwice:\n%s", once, twice)
			}
			tool(t, cib, nil, "crm_verify", "--xml-file", cib)
			tool(t, cib, nil, "xmllint", "--noout", "--relaxng", schema, cib)
			for _, g := range groups {
				for _, r := range g.resources() {
					tool(t, cib, nil, "crm_resource", "--query-xml", "--resource", r.ID)
				}
			}
			loaded[form.name] = once
		})
	}
	if loaded["crm"] != loaded["xml"] {
		t.Errorf("crm makes\n%s\nand the XML\n%s", loaded["crm"], loaded["xml"])
	}
}
