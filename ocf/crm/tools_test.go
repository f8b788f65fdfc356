//go:build tools

package crm

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/golden"
	"github.com/braintree/lb/ocf/pacemaker"
)

// machines is a configuration of Pacemaker with three balancers, the first of which is the coordinator, and no resources.
const machines = `<cib crm_feature_set="3.16.1" validate-with="pacemaker-3.9" epoch="1" num_updates="0"
  admin_epoch="0" have-quorum="1" dc-uuid="1">
  <configuration>
    <crm_config>
      <cluster_property_set id="cib-bootstrap-options">
        <nvpair id="cib-bootstrap-options-stonith-enabled" name="stonith-enabled" value="true"/>
      </cluster_property_set>
    </crm_config>
    <nodes>
      <node id="1" uname="load01"/>
      <node id="2" uname="load02"/>
      <node id="3" uname="load03"/>
    </nodes>
    <resources>
      <primitive id="fence" class="stonith" type="fence_ipmilan"/>
    </resources>
    <constraints/>
  </configuration>
  <status/>
</cib>
`

const (
	simulate    = "crm_simulate --simulate --xml-file cib.xml --save-output cib.xml "
	up          = simulate + "--node-up load01 --node-up load02 --node-up load03"
	noDevice    = "cibadmin --delete --xpath //primitive[@id='fence']"
	noLocations = "cibadmin --delete-all --force --xpath //rsc_location"
	noRules     = "cibadmin --delete-all --force --xpath //rsc_colocation|//rsc_order"
)

// apart runs the address of webapp on a machine where its cluster must not run.
const apart = `<configuration>
  <constraints>
    <rsc_location id="address-place" rsc="group-webapp" node="load03" score="100"/>
    <rsc_location id="cluster-place" rsc="clone-webapp" node="load03" score="-INFINITY"/>
  </constraints>
</configuration>
`

// scenarios are the commands that lead to each recorded state. Pacemaker's own scheduler, in crm_simulate, computes the result.
var scenarios = map[string][]string{
	"bare": {noLocations, noRules, "cibadmin --delete-all --force --xpath //group",
		"cibadmin --delete-all --force --xpath //clone", up},
	"running": {up},
	"failed":  {up, simulate + "--op-inject cluster-webapp_monitor_5000@load01=1"},
	"blocked": {"crm_attribute --name stonith-enabled --update false", up, simulate +
		"--op-fail cluster-webapp_stop_0@load01=1 --op-inject cluster-webapp_monitor_5000@load01=1"},
	"no-address":  {up, simulate + "--op-inject vip-204.109.13.7_monitor_10000@load01=1 --op-fail vip-204.109.13.7_start_0@load01=1"},
	"disabled":    {up, "crm_resource --resource group-webapp --meta --set-parameter target-role --parameter-value Stopped", simulate},
	"unmanaged":   {up, "crm_resource --resource group-webapp --meta --set-parameter is-managed --parameter-value false", simulate},
	"maintenance": {up, "crm_attribute --name maintenance-mode --update true", simulate},
	"standby":     {up, "crm_standby --node load01 --update on", simulate},
	"dead":        {up, simulate + "--node-fail load01"},
	"unclean":     {up, "crm_simulate --xml-file cib.xml --save-output cib.xml --node-fail load01"},
	"twice":       {up, "crm_simulate --xml-file cib.xml --save-output cib.xml --op-inject vip-204.109.13.7_monitor_10000@load02=0"},
	"no-quorum":   {up, "sed -i s/have-quorum=.1./have-quorum=\"0\"/ cib.xml", simulate},
	"no-device":   {noDevice, up},
	"no-fencing":  {noDevice, "crm_attribute --name stonith-enabled --update false", up},
	"moved":       {up, "crm_resource --move --resource group-webapp --node load03", simulate},
	"banned":      {up, "crm_resource --ban --resource group-webapp --node load01", simulate},
	"orphaned":    {up, noLocations, noRules, "cibadmin --delete --xpath //clone[@id='clone-webapp']"},
	"apart":       {noRules, "cibadmin --modify --allow-create --xml-file apart.xml", up},
}

func run(t *testing.T, dir, line string) string {
	t.Helper()
	words := strings.Fields(line)
	cmd := exec.CommandContext(t.Context(), words[0], words[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CIB_file="+filepath.Join(dir, "cib.xml"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

// changeTime matches the times in the output of crm_mon, which differ between recordings.
var changeTime = regexp.MustCompile(`(last-rc-change)="[^"]*"`)

func TestRecordingsMatchPacemakersTools(t *testing.T) {
	cfg, err := config.Load("testdata/lb.toml", nil)
	if err != nil {
		t.Fatal(err)
	}
	groups, err := pacemaker.Groups(cfg.Clusters, nil, pacemaker.Paths{})
	if err != nil {
		t.Fatal(err)
	}
	lbXML, err := pacemaker.XML(groups)
	if err != nil {
		t.Fatal(err)
	}
	for name, commands := range scenarios {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range map[string]string{"cib.xml": machines, "ours.xml": string(lbXML), "apart.xml": apart} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			run(t, dir, "cibadmin --modify --allow-create --xml-file ours.xml")
			for _, c := range commands {
				run(t, dir, c)
			}
			output := run(t, dir, "crm_mon "+strings.Join(StatusArguments(), " "))
			golden.Compare(t, "testdata/"+name+".status.xml", changeTime.ReplaceAllString(output, `$1="2026-03-01 03:00:00Z"`))
			if slices.Contains([]string{"bare", "running", "moved", "banned", "apart"}, name) {
				golden.Compare(t, "testdata/"+name+".cib.xml", run(t, dir, "cibadmin "+strings.Join(ConfigurationArguments(), " ")))
			}
		})
	}
}

// TestRecordingWithoutPacemaker needs a machine where Pacemaker is installed but not running.
func TestRecordingWithoutPacemaker(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "crm_mon", StatusArguments()...).Output()
	if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != NotConnected {
		t.Errorf("crm_mon: %v, want exit status %d", err, NotConnected)
	}
	golden.Compare(t, "testdata/silent.status.xml", string(out))
}
