//go:build bench

package peers

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/procfs"

	"github.com/braintree/lb/netx/lab"
	"github.com/braintree/lb/netx/lab/labtest"
)

// nodesPerMark is the number of real servers per virtual service.
const nodesPerMark = 100

// starter starts a program that checks real servers and updates the kernel's table.
type starter func(t *testing.T, load *lab.Host, services []service, interval time.Duration) *lab.Process

// watcher is a program to measure.
type watcher struct {
	name  string
	start starter
}

// watchers are the programs whose cost is compared. Ratios are relative to the first.
var watchers = []watcher{
	{"keepalived", startKeepalived},
	{"lb, polling", startLB("poll")},
	{"lb, streams", startLB("auto")},
}

// service is a virtual service, identified by its mark, with its real servers.
type service struct {
	mark  int
	nodes []netip.Addr
}

// farmServices returns services for the first nodes addresses of the farm.
func farmServices(nodes int) []service {
	var services []service
	for n := range nodes {
		if n%nodesPerMark == 0 {
			services = append(services, service{mark: len(services) + 1})
		}
		last := &services[len(services)-1]
		last.nodes = append(last.nodes, nodeAddress(n))
	}
	return services
}

// startKeepalived starts keepalived with its checkers only, without VRRP.
func startKeepalived(t *testing.T, load *lab.Host, services []service, interval time.Duration) *lab.Process {
	t.Helper()
	var b strings.Builder
	b.WriteString("global_defs {\n  router_id bench\n  checker_log_all_failures false\n}\n")
	for _, s := range services {
		fmt.Fprintf(&b, "virtual_server fwmark %d {\n  delay_loop %g\n  lb_algo wrr\n  lb_kind TUN\n  protocol TCP\n  retry 0\n"+
			"  delay_before_retry %g\n",
			s.mark, interval.Seconds(), interval.Seconds())
		for _, node := range s.nodes {
			fmt.Fprintf(&b, "  real_server %s 0 {\n    weight 100\n    inhibit_on_failure\n    HTTP_GET {\n"+
				"      url {\n        path /webapp/status\n        status_code 200\n      }\n"+
				"      connect_port %d\n      connect_timeout 1\n    }\n  }\n", node, agentPort)
		}
		b.WriteString("}\n")
	}
	return startChecker(t, load, b.String())
}

// startChecker starts keepalived with a configuration.
func startChecker(t *testing.T, load *lab.Host, config string) *lab.Process {
	t.Helper()
	if err := load.WriteFile("/run/keepalived.conf", []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	return run(t, load, "keepalived", "--dont-fork", "--check", "--log-console", "--use-file", "/run/keepalived.conf",
		"--pid", "/run/keepalived.pid", "--checkers_pid", "/run/checkers.pid")
}

// startLdirectord starts ldirectord in the foreground. It runs in one process and checks one real server at a time.
func startLdirectord(t *testing.T, load *lab.Host, services []service, interval time.Duration) *lab.Process {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "checktimeout=2\ncheckinterval=%g\nautoreload=no\nquiescent=yes\n", interval.Seconds())
	for _, s := range services {
		fmt.Fprintf(&b, "virtual=%d\n", s.mark)
		for _, node := range s.nodes {
			fmt.Fprintf(&b, "\treal=%s ipip 100\n", node)
		}
		fmt.Fprintf(&b, "\tservice=http\n\tchecktype=negotiate\n\tcheckport=%d\n\trequest=\"webapp/status\"\n"+
			"\treceive=\"Health: [1-9]\"\n\tscheduler=wrr\n\tprotocol=fwm\n", agentPort)
	}
	if err := load.WriteFile("/run/ldirectord.cf", []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return run(t, load, "ldirectord", "-d", "/run/ldirectord.cf", "start")
}

// startLB returns a starter of lb balance with a watch setting.
func startLB(watch string) starter {
	return func(t *testing.T, load *lab.Host, services []service, interval time.Duration) *lab.Process {
		t.Helper()
		var b strings.Builder
		for _, s := range services {
			fmt.Fprintf(&b, "[clusters.c%d]\nfwmark = %d\nscheduler = \"wrr\"\nautostart = true\nramp_up_time = \"0s\"\n"+
				"check_interval = %q\nwatch = %q\n",
				s.mark, s.mark, interval, watch)
			fmt.Fprintf(&b, "vips = [ { address = \"192.0.2.%d\", ports = [80] } ]\nnodes = [\n", s.mark)
			for _, node := range s.nodes {
				fmt.Fprintf(&b, "  { address = %q, port = %d, path = \"/webapp/status\" },\n", node, agentPort)
			}
			b.WriteString("]\n")
		}
		if err := load.WriteFile("/run/lb.toml", []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return run(t, load, binary(t), "balance", "-c", "/run/lb.toml", "--log-level", "warn")
	}
}

// binary returns the path of the lb under test.
func binary(t *testing.T) string {
	t.Helper()
	path := os.Getenv("LB_BENCH_BIN")
	if path == "" {
		t.Fatal("LB_BENCH_BIN is not set: run this by scripts/bench peers")
	}
	return path
}

// run starts a program and logs its output if the test fails.
func run(t *testing.T, h *lab.Host, name string, args ...string) *lab.Process {
	t.Helper()
	out := &labtest.Output{}
	p, err := h.Start(lab.Command{Path: name, Args: args, Stdout: out, Stderr: out})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Kill() // it may have exited already
		if t.Failed() {
			text := out.String()
			t.Logf("last output of %s:\n%s", filepath.Base(name), text[max(0, len(text)-4000):])
		}
	})
	return p
}

// usage is what a process and its descendants have used so far.
type usage struct {
	processor time.Duration
	resident  int // bytes
}

// usageOf reads the usage of a process and its descendants. It misses short-lived children, which none of the measured programs has.
func usageOf(t *testing.T, p *lab.Process) usage { return usageBelow(t, p.Pid()) }

func usageBelow(t *testing.T, pid int) usage {
	t.Helper()
	processes, err := procfs.AllProcs()
	if err != nil {
		t.Fatal(err)
	}
	sort.Sort(processes) // by process ID, so that parents come first
	below := map[int]bool{pid: true}
	var sum usage
	for _, process := range processes {
		stat, err := process.Stat()
		if err != nil || !below[stat.PID] && !below[stat.PPID] {
			continue // just exited, or unrelated
		}
		below[stat.PID] = true
		sum.processor += time.Duration(stat.CPUTime() * float64(time.Second))
		sum.resident += stat.ResidentMemory()
	}
	return sum
}
