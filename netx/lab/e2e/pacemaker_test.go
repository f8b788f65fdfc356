//go:build lab

package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/braintree/lb/netx/lab/labtest"
	"github.com/braintree/lb/netx/lab/talk"
)

// cibPath is a file in the place of a Pacemaker that runs: its own tools read it, and its own scheduler makes it go on.
const cibPath = "/run/cib.xml"

const simulate = "crm_simulate --simulate --xml-file " + cibPath + " --save-output " + cibPath + " "

// onLoad runs a shell command on load01, which bears that name, as one of Pacemaker's machines does.
func onLoad(t *testing.T, s *talk.Scenario, command string) string {
	t.Helper()
	return labtest.Run(t, s.Load, "unshare", "--uts", "env", "CIB_file="+cibPath, "LB_CONFIG=/run/lb.toml", "LB="+binary(t), "sh", "-c", "hostname load01; "+command)
}

// manage makes a Pacemaker of load01 and load02 from the scenario's own configuration, with the cluster on load01.
func manage(t *testing.T, s *talk.Scenario) {
	t.Helper()
	const machines = `<cib crm_feature_set="3.16.1" validate-with="pacemaker-3.9" epoch="1" num_updates="0" admin_epoch="0" have-quorum="1" dc-uuid="1"><configuration>
<crm_config><cluster_property_set id="options"><nvpair id="fencing" name="stonith-enabled" value="false"/></cluster_property_set></crm_config>
<nodes><node id="1" uname="load01"/><node id="2" uname="load02"/></nodes><resources/><constraints/></configuration><status/></cib>`
	if err := s.Load.WriteFile(cibPath, []byte(machines), 0o600); err != nil {
		t.Fatal(err)
	}
	onLoad(t, s, "$LB ctl pacemaker --as xml | cibadmin --modify --allow-create --xml-pipe")
	onLoad(t, s, simulate+"--node-up load01")
}

// compared runs `lb ctl pacemaker status`, which changes nothing, and wants its exit status and these texts in what it prints.
func compared(t *testing.T, s *talk.Scenario, status int, words ...string) {
	t.Helper()
	before := kernelState(t, s)
	out := onLoad(t, s, "$LB ctl pacemaker status 2>&1; echo exit status $?")
	for _, word := range append(words, fmt.Sprintf("exit status %d\n", status)) {
		if !strings.Contains(out, word) {
			t.Errorf("no %q in\n%s", word, out)
		}
	}
	if after := kernelState(t, s); after != before {
		t.Errorf("it changed the kernel from\n%s\nto\n%s", before, after)
	}
}

// TestPacemakerStatusTellsWhoSaysWhat has Pacemaker, lb balance and the kernel fall out with each other, and does what the command advises.
func TestPacemakerStatusTellsWhoSaysWhat(t *testing.T) {
	s := stage(t, nil)
	settled(t, s, 100)
	manage(t, s)
	const agreed = "all agree\n"
	const row = "webapp   load01   load01        running          mark 7, 3 of 3 nodes with weight  204.109.13.7 on eth10\n"

	compared(t, s, 0, row, "this machine: load01\n", "load01 online, load02 offline\n", "note: fencing is off", agreed)
	if out := onLoad(t, s, "$LB ctl pacemaker status --json webapp"); !strings.Contains(out, `"agree": true`) {
		t.Errorf("as JSON:\n%s", out)
	}

	if err := s.Balancer.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	compared(t, s, 1, "webapp   load01   load01        silent           mark 7, 3 of 3 nodes", "problem: lb balance does not respond on this machine", "timed out; it is running but hangs",
		"problem: webapp: the kernel forwards for it, but nothing updates its weights\n", "2 problems\n")
	labtest.Run(t, s.Load, "ipvsadm", "-C") // a balancer that is awake would put the service back
	compared(t, s, 1, "problem: webapp: Pacemaker has it here, but the kernel has no service for it and lb balance does not respond\n")
	if err := s.Balancer.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	settled(t, s, 100)
	compared(t, s, 0, row)

	labtest.Run(t, s.Load, "ip", "address", "del", "204.109.13.7/32", "dev", "eth10")
	compared(t, s, 1, "problem: webapp: Pacemaker has 204.109.13.7 here, but no interface of this machine has it", "crm resource refresh vip-204.109.13.7")
	labtest.Run(t, s.Load, "ip", "address", "add", "204.109.13.7/32", "dev", "eth10")

	onLoad(t, s, simulate+"--node-up load02")
	onLoad(t, s, "crm_standby --node load01 --update on; "+simulate)
	compared(t, s, 1, "note: load01 is in standby", "problem: webapp: lb balance runs it here, but Pacemaker has it on load02\n  → `lb ctl cluster stop webapp`",
		"two machines may answer for it\n  → `ip address del 204.109.13.7/32 dev eth10`\n", "2 problems\n")
	labtest.Run(t, s.Load, "ip", "address", "del", "204.109.13.7/32", "dev", "eth10")
	if err := s.Balancer.Kill(); err != nil {
		t.Fatal(err)
	}
	compared(t, s, 1, "problem: webapp: the kernel here forwards mark 7 for it, but lb balance does not run it and Pacemaker has it on load02\n"+
		"  → `OCF_RESKEY_cluster=webapp lb ocf stop` removes it\n")
	onLoad(t, s, "OCF_RESKEY_cluster=webapp $LB ocf stop -c /run/lb.toml")
	if err := s.Balancer.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	settled(t, s, 100) // autostart
	lb(t, s, s.Load, "ctl", "cluster", "stop", "webapp")
	labtest.Eventually(t, patience, "the service has left the kernel", func() (bool, string) {
		saved := labtest.Run(t, s.Load, "ipvsadm", "-Sn")
		return !strings.Contains(saved, "-f 7"), saved
	})
	compared(t, s, 0, "webapp   load02   load02        stopped          no service   none\n", agreed)
	onLoad(t, s, "for it in //rsc_colocation //rsc_order //group //clone; do cibadmin --delete-all --force --xpath $it; done; "+simulate)
	compared(t, s, 0, "note: webapp: Pacemaker does not have it, and lb balance runs it because of autostart = true")

	out := onLoad(t, s, "unset CIB_file; $LB ctl pacemaker status; echo exit status $?")
	if !strings.Contains(out, "problem: Pacemaker is not running on this machine") || !strings.Contains(out, "exit status 1\n") {
		t.Errorf("without Pacemaker:\n%s", out)
	}
	out = onLoad(t, s, "PATH=/nonexistent $LB ctl pacemaker status; echo exit status $?")
	if !strings.Contains(out, "problem: Pacemaker is not installed on this machine: no crm_mon in PATH\n") || !strings.Contains(out, "exit status 1\n") {
		t.Errorf("without its tools:\n%s", out)
	}
	out = onLoad(t, s, "setpriv --reuid 65534 --regid 65534 --clear-groups $LB ctl pacemaker status 2>&1; echo exit status $?")
	if !strings.Contains(out, "run as root or with CAP_NET_ADMIN") || !strings.Contains(out, "exit status 77\n") {
		t.Errorf("without privilege:\n%s", out)
	}
}
