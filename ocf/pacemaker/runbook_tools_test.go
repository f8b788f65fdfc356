//go:build tools

package pacemaker

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/braintree/lb/netx/lab/labtest"
)

const runbook = "../../docs/runbook.md"

// crmHelp is the source of crm's help. Running crm itself takes seconds for each command.
const crmHelp = "/usr/share/crmsh/crm.8.adoc"

// fenceAgent is where Pacemaker looks for the agent of the runbook's fence devices.
const fenceAgent = "/usr/sbin/fence_ipmilan"

// provideFenceAgent makes sure that a fence agent prints its meta-data, which is all that the tools need here. Without Debian's
// fence-agents, a script prints the recorded meta-data of version 4.12.1.
func provideFenceAgent(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(fenceAgent); err == nil {
		return
	}
	recorded, err := os.ReadFile("testdata/fence_ipmilan.xml")
	if err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\ncat <<'END'\n" + string(recorded) + "\nEND\n" // works on if an interrupted run leaves it
	if err := os.WriteFile(fenceAgent, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(fenceAgent); err != nil {
			t.Error(err)
		}
	})
}

func TestPacemakersToolsAcceptTheRunbooksConfiguration(t *testing.T) {
	install(t)
	provideFenceAgent(t)
	cib := filepath.Join(t.TempDir(), "cib.xml")
	text := strings.ReplaceAll(machines, "load02.example.com", "load02")
	if err := os.WriteFile(cib, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, cib, []byte(labtest.ReadmeBlock(t, runbook, "fence")), "crm", "configure", "load", "update", "-")
	groups, err := Groups(read(t, labtest.ReadmeBlock(t, runbook, "lb")), nil, Paths{})
	if err != nil {
		t.Fatal(err)
	}
	tool(t, cib, CRM(groups), "crm", "configure", "load", "update", "-")
	tool(t, cib, nil, "crm_simulate", "--simulate", "--xml-file", cib, "--save-output", cib, "--quorum", "true",
		"--node-up", "load01", "--node-up", "load02", "--node-up", "load03")
	tool(t, cib, nil, "crm_verify", "--xml-file", cib)
	for resource, want := range map[string]string{"cluster-webapp": "load01", "vip-204.109.13.7": "load01", "cluster-mail": "load02",
		"vip-204.109.13.8": "load02"} {
		cmd := exec.CommandContext(t.Context(), "crm_resource", "--locate", "--resource", resource)
		cmd.Env = append(os.Environ(), "CIB_file="+cib)
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "is running on: "+want) {
			t.Errorf("%s is not on %s: %v, %s", resource, want, err, out)
		}
	}
}

func TestCorosyncAcceptsTheRunbooksFile(t *testing.T) {
	dir := t.TempDir()
	key, conf := filepath.Join(dir, "authkey"), filepath.Join(dir, "corosync.conf")
	tool(t, "", nil, "corosync-keygen", "-l", "-k", key)
	shown := labtest.ReadmeBlock(t, runbook, "corosync")
	if err := os.WriteFile(conf, []byte(strings.Replace(shown, "totem {", "totem {\n    keyfile: "+key, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, "", nil, "unshare", "--uts", "sh", "-c", `hostname load02 && corosync -t -c "$0"`, conf)
}

var (
	// crmCommand matches a command of crm with its level.
	crmCommand = regexp.MustCompile(`\bcrm (resource|node|configure) ([a-z]+)`)
	// option matches an option of another tool of Pacemaker.
	option = regexp.MustCompile(`\b(crm_resource|stonith_admin|cibadmin|crm_mon)( --[a-z-]+)`)
)

// TestDocsMentionExistingCommandsOfPacemaker looks up commands in documents and advice in the tools' own help.
func TestDocsMentionExistingCommandsOfPacemaker(t *testing.T) {
	var text strings.Builder
	for _, pattern := range []string{"../../docs/*.md", "../consistency/*.go", "../../ctl/*/*.go", "../../README.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", pattern, files, err)
		}
		for _, file := range files {
			part, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text.Write(part)
		}
	}
	seen := map[string]bool{}
	help, err := os.ReadFile(crmHelp)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range crmCommand.FindAllStringSubmatch(text.String(), -1) {
		seen[m[0]] = true
		if !strings.Contains(string(help), "[[cmdhelp_"+m[1]+"_"+m[2]+",") {
			t.Errorf("%s: crm has no such command", m[0])
		}
	}
	for _, m := range option.FindAllStringSubmatch(text.String(), -1) {
		if seen[m[0]] {
			continue
		}
		seen[m[0]] = true
		all := "--help-all"
		if m[1] == "cibadmin" {
			all = "--help"
		}
		out, err := exec.CommandContext(t.Context(), m[1], all).CombinedOutput()
		if err != nil || !strings.Contains(string(out), m[2]) {
			t.Errorf("%s%s: %v, or its help has no such option", m[1], m[2], err)
		}
	}
	if len(seen) < 20 {
		t.Errorf("found only %d commands: %v", len(seen), seen)
	}
}
