//go:build lab

package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/braintree/lb/netx/lab/labtest"
	"github.com/braintree/lb/netx/lab/testbed"
)

// cibPath is the path of a CIB file that replaces a running Pacemaker: its tools read the file, and crm_simulate advances it.
const cibPath = "/run/cib.xml"

const simulate = "crm_simulate --simulate --xml-file " + cibPath + " --save-output " + cibPath + " "

// onBalancer runs a shell command on load01, with that hostname, like a member of a Pacemaker cluster.
func onBalancer(t *testing.T, s *testbed.Site, command string) string {
	t.Helper()
	return labtest.Run(t, s.BalancerHost, "unshare", "--uts",
		"env", "CIB_file="+cibPath, "LB_CONFIG=/run/lb.toml", "LB="+binary(t), "sh", "-c", "hostname load01; "+command)
}

// configurePacemaker creates a Pacemaker cluster of load01 and load02 from the site's lb.toml, with webapp on load01.
func configurePacemaker(t *testing.T, s *testbed.Site) {
	t.Helper()
	const machines = `<cib crm_feature_set="3.16.1" validate-with="pacemaker-3.9"
  epoch="1" num_updates="0" admin_epoch="0" have-quorum="1" dc-uuid="1"><configuration>
<crm_config><cluster_property_set id="options">
  <nvpair id="fencing" name="stonith-enabled" value="false"/>
</cluster_property_set></crm_config>
<nodes><node id="1" uname="load01"/><node id="2" uname="load02"/></nodes><resources/><constraints/></configuration><status/></cib>`
	if err := s.BalancerHost.WriteFile(cibPath, []byte(machines), 0o600); err != nil {
		t.Fatal(err)
	}
	onBalancer(t, s, "$LB ctl pacemaker --as xml | cibadmin --modify --allow-create --xml-pipe")
	onBalancer(t, s, simulate+"--node-up load01")
}

// checkStatus runs `lb ctl pacemaker status`, checks its exit status and that it prints the given texts, and that it changes nothing.
func checkStatus(t *testing.T, s *testbed.Site, status int, words ...string) {
	t.Helper()
	before := kernelState(t, s)
	out := onBalancer(t, s, "$LB ctl pacemaker status 2>&1; echo exit status $?")
	for _, word := range append(words, fmt.Sprintf("exit status %d\n", status)) {
		if !strings.Contains(out, word) {
			t.Errorf("no %q in\n%s", word, out)
		}
	}
	if after := kernelState(t, s); after != before {
		t.Errorf("the command changed the kernel from\n%s\nto\n%s", before, after)
	}
}

// TestPacemakerStatusReportsDisagreement makes Pacemaker, lb balance and the kernel disagree, and follows the command's advice.
func TestPacemakerStatusReportsDisagreement(t *testing.T) {
	s := newSite(t, nil)
	waitForWeight(t, s, 100)
	configurePacemaker(t, s)
	const agreed = "all agree\n"
	const row = "webapp   load01   load01        running          mark 7, 3 of 3 nodes with weight  204.109.13.7 on eth10\n"

	checkStatus(t, s, 0, row, "this machine: load01\n", "load01 online, load02 offline\n", "note: fencing is off", agreed)
	if out := onBalancer(t, s, "$LB ctl pacemaker status --json webapp"); !strings.Contains(out, `"agree": true`) {
		t.Errorf("as JSON:\n%s", out)
	}

	if err := s.Balancer.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	checkStatus(t, s, 1, "webapp   load01   load01        silent           mark 7, 3 of 3 nodes",
		"problem: lb balance does not respond on this machine", "timed out; it is running but hangs",
		"problem: webapp: the kernel forwards for it, but nothing updates its weights\n", "2 problems\n")
	labtest.Run(t, s.BalancerHost, "ipvsadm", "-C") // a running balancer would restore the service
	checkStatus(t, s, 1, "problem: webapp: Pacemaker runs it here, but the kernel has no service for it and lb balance does not respond\n")
	if err := s.Balancer.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	waitForWeight(t, s, 100)
	checkStatus(t, s, 0, row)

	labtest.Run(t, s.BalancerHost, "ip", "address", "del", "204.109.13.7/32", "dev", "eth10")
	checkStatus(t, s, 1, "problem: webapp: Pacemaker runs 204.109.13.7 here, but no interface of this machine has it",
		"crm resource refresh vip-204.109.13.7")
	labtest.Run(t, s.BalancerHost, "ip", "address", "add", "204.109.13.7/32", "dev", "eth10")

	onBalancer(t, s, simulate+"--node-up load02")
	onBalancer(t, s, "crm_standby --node load01 --update on; "+simulate)
	checkStatus(t, s, 1, "note: load01 is in standby",
		"problem: webapp: lb balance runs it here, but Pacemaker runs it on load02\n  → `lb ctl cluster stop webapp`",
		"two machines may answer for it\n  → `ip address del 204.109.13.7/32 dev eth10`\n", "2 problems\n")
	labtest.Run(t, s.BalancerHost, "ip", "address", "del", "204.109.13.7/32", "dev", "eth10")
	if err := s.Balancer.Kill(); err != nil {
		t.Fatal(err)
	}
	checkStatus(t, s, 1,
		"problem: webapp: the kernel here forwards mark 7 for it, but lb balance does not run it and Pacemaker runs it on load02\n"+
			"  → `OCF_RESKEY_cluster=webapp lb ocf stop` removes it\n")
	onBalancer(t, s, "OCF_RESKEY_cluster=webapp $LB ocf stop -c /run/lb.toml")
	if err := s.Balancer.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	waitForWeight(t, s, 100) // autostart
	runLB(t, s, s.BalancerHost, "ctl", "cluster", "stop", "webapp")
	labtest.Eventually(t, timeout, "the service is removed from the kernel", func() (bool, string) {
		saved := labtest.Run(t, s.BalancerHost, "ipvsadm", "-Sn")
		return !strings.Contains(saved, "-f 7"), saved
	})
	checkStatus(t, s, 0, "webapp   load02   load02        stopped          no service   none\n", agreed)
	const removeAll = "for it in //rsc_colocation //rsc_order //group //clone; do cibadmin --delete-all --force --xpath $it; done; "
	onBalancer(t, s, removeAll+simulate)
	checkStatus(t, s, 0, "note: webapp: it is not in Pacemaker, and lb balance runs it because of autostart = true")

	out := onBalancer(t, s, "unset CIB_file; $LB ctl pacemaker status; echo exit status $?")
	if !strings.Contains(out, "problem: Pacemaker is not running on this machine") || !strings.Contains(out, "exit status 1\n") {
		t.Errorf("without Pacemaker:\n%s", out)
	}
	out = onBalancer(t, s, "PATH=/nonexistent $LB ctl pacemaker status; echo exit status $?")
	if !strings.Contains(out, "problem: Pacemaker is not installed on this machine: no crm_mon in PATH\n") ||
		!strings.Contains(out, "exit status 1\n") {
		t.Errorf("without its tools:\n%s", out)
	}
	out = onBalancer(t, s, "setpriv --reuid 65534 --regid 65534 --clear-groups $LB ctl pacemaker status 2>&1; echo exit status $?")
	if !strings.Contains(out, "run as root or with CAP_NET_ADMIN") || !strings.Contains(out, "exit status 77\n") {
		t.Errorf("without privilege:\n%s", out)
	}
}
