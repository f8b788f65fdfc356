package action

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/lab/labtest"
	"github.com/braintree/lb/netx/mark"
	"github.com/braintree/lb/netx/program"
	"github.com/braintree/lb/ocf/consistency"
	"github.com/braintree/lb/ocf/crm"
)

// inconsistentReport is a report with something of each kind.
func inconsistentReport() consistency.Report {
	return consistency.Report{
		Machine:  "load01",
		Machines: []consistency.Machine{{Name: "load01", State: "online"}, {Name: "load02", State: "standby"}},
		Findings: []consistency.Finding{{Level: consistency.Note, Code: "machine-standby", Text: "load02 is in standby",
			Fix: "put it online"}},
		Clusters: []consistency.Cluster{
			{Name: "mail", Pacemaker: consistency.Placement{State: "nowhere", Machines: []string{}}, Daemon: "stopped"},
			{
				Name: "webapp", Mark: 7, Pacemaker: consistency.Placement{State: "here", Machines: []string{"load01", "load02"}},
				Daemon: "running",
				Kernel: consistency.Forwarding{Service: true, Nodes: 3, Weighted: 0},
				Addresses: []consistency.VIP{
					{Address: "192.0.2.1", Pacemaker: consistency.Placement{State: "here", Machines: []string{"load01"}},
						Interfaces: []string{"eth0"}},
					{Address: "192.0.2.3", Pacemaker: consistency.Placement{State: "elsewhere", Machines: []string{"load02"}},
						Interfaces: []string{"eth0", "eth1"}},
				},
				Findings: []consistency.Finding{{Level: consistency.Problem, Code: "no-weights", Text: "no client is <served>",
					Fix: "look why"}},
			},
		},
	}
}

func TestPacemakerStatusPrintsFindingsWithFixes(t *testing.T) {
	const want = `this machine: load01
all machines: load01 online, load02 standby
CLUSTER  RUNS ON         ADDRESSES ON    LB BALANCE HERE  KERNEL HERE                       ADDRESSES HERE
mail     nowhere         none            stopped          no service                        none
webapp   load01, load02  load01; load02  running          mark 7, 0 of 3 nodes with weight  192.0.2.1 on eth0; 192.0.2.3 on eth0, eth1
note: load02 is in standby
  → put it online
problem: webapp: no client is <served>
  → look why
1 problem
`
	var out bytes.Buffer
	if err := printReport(&out, inconsistentReport(), Format{}); !errors.Is(err, ErrInconsistent) {
		t.Errorf("%v", err)
	}
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	agreeing := inconsistentReport()
	agreeing.Agree, agreeing.Clusters = true, agreeing.Clusters[:1]
	out.Reset()
	if err := printReport(&out, agreeing, Format{}); err != nil || !strings.HasSuffix(out.String(), "  → put it online\nall agree\n") {
		t.Errorf("%v\n%s", err, &out)
	}
}

// TestDocsShowTheOutputOfPacemakerStatus compares docs/pacemaker.md with the output on load01 in a recorded state of Pacemaker, with
// load03 in standby and lb balance dead.
func TestDocsShowTheOutputOfPacemakerStatus(t *testing.T) {
	const recordings = "../../ocf/crm/testdata/"
	cfg, err := config.Load(recordings+"lb.toml", nil)
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(recordings + "running.status.xml")
	if err != nil {
		t.Fatal(err)
	}
	configuration, err := os.ReadFile(recordings + "running.cib.xml")
	if err != nil {
		t.Fatal(err)
	}
	v := consistency.Views{Machine: "load01", Config: consistency.Config{Path: client.DefaultConfig, Clusters: cfg.Clusters}}
	if v.Pacemaker.Status, err = crm.ParseStatus(status); err != nil {
		t.Fatal(err)
	}
	if v.Pacemaker.Configuration, err = crm.ParseConfiguration(configuration); err != nil {
		t.Fatal(err)
	}
	v.Pacemaker.Status.Machines[2].Standby = true
	for i := range v.Pacemaker.Status.Resources {
		if r := &v.Pacemaker.Status.Resources[i]; r.Clone != "" {
			r.On = r.On[:2]
		}
	}
	v.Daemon.Error = (&client.UnreachableError{Daemon: client.Balancer(), Address: client.DefaultBalancerControl,
		Err: syscall.ECONNREFUSED}).Error()
	v.Kernel = consistency.Kernel{
		Services: []ipvs.Service{
			{Key: ipvs.Key{Mark: 7, Family: ipvs.IPv4}, Destinations: []ipvs.Destination{{Weight: 100}, {Weight: 0}}},
			{Key: ipvs.Key{Mark: 8, Family: ipvs.IPv4}, Destinations: []ipvs.Destination{{Weight: 100}}},
		},
		Rules: []mark.Rule{
			{Address: cfg.Clusters[1].VIPs[0].Address, Interface: "eth10", Protocol: "tcp", Port: 443, Mark: 7},
			{Address: cfg.Clusters[0].VIPs[0].Address, Protocol: "tcp", Port: 25, Mark: 8},
		},
		Addresses: []consistency.Address{{Interface: "eth10", Address: cfg.Clusters[1].VIPs[0].Address}},
	}
	var out bytes.Buffer
	if err := printReport(&out, consistency.Compare(v, nil), Format{}); !errors.Is(err, ErrInconsistent) {
		t.Errorf("%v", err)
	}
	_, shown, _ := strings.Cut(labtest.ReadmeBlock(t, "../../docs/pacemaker.md", "status"), "\n")
	if diff := cmp.Diff(out.String(), shown); diff != "" {
		t.Errorf("docs/pacemaker.md (-want +got):\n%s", diff)
	}
}

func TestPacemakerStatusAsJSONIsComplete(t *testing.T) {
	var out bytes.Buffer
	if err := printReport(&out, inconsistentReport(), Format{JSON: true}); !errors.Is(err, ErrInconsistent) {
		t.Errorf("%v", err)
	}
	var back consistency.Report
	if err := json.Unmarshal(out.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(inconsistentReport(), back); diff != "" || !strings.Contains(out.String(), "<served>") {
		t.Errorf("(-want +got):\n%s\n%s", diff, &out)
	}
}

func TestToolFindings(t *testing.T) {
	toolError := &crm.ToolError{Code: 5, Text: "Permission denied"}
	tests := map[string]struct {
		result program.Result
		err    error
		code   string
		text   string
	}{
		"not installed": {program.Result{Err: &exec.Error{Name: "crm_mon", Err: exec.ErrNotFound}}, errors.New("EOF"),
			"pacemaker-not-installed", "no crm_mon in PATH"},
		"it hangs": {program.Result{Err: fmt.Errorf("killed: %w", context.DeadlineExceeded)}, errors.New("EOF"), "pacemaker-hangs",
			"timed out after 30s"},
		"not running": {program.Result{Err: errors.New("exit status 102")}, &crm.ToolError{Code: crm.NotConnected,
			Text: "Not connected"}, "pacemaker-not-running", "(Not connected)"},
		"tool error": {program.Result{Err: errors.New("exit status 5")}, toolError, "pacemaker-silent",
			"crm_mon failed: Permission denied"},
		"no XML": {program.Result{Stderr: "Segmentation fault\ncore dumped"}, errors.New("EOF"), "pacemaker-silent",
			"crm_mon failed: EOF; its output: Segmentation fault core dumped"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := toolFinding("crm_mon", tt.result, tt.err)
			if f.Level != consistency.Problem || f.Code != tt.code || !strings.Contains(f.Text, tt.text) || f.Fix == "" {
				t.Errorf("%+v", f)
			}
		})
	}
}
