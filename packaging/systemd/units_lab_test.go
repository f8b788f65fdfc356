//go:build lab

package systemd

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/braintree/lb/netx/lab"
	"github.com/braintree/lb/netx/lab/labtest"
)

// patience bounds waits without a deadline of their own; the guest is 10 to 20 times slower than bare metal.
const patience = 90 * time.Second

const (
	// unitPath is where the machine's systemd finds all of its units.
	unitPath = "/run/units"
	// lbPath is the path of lb on the machine.
	lbPath = "/run/units/lb"
)

// fleet is the machine's /etc/lb/lb.toml: an app node and load balancer in one, with a service that is up while lb
// balance runs.
const fleet = `
[agent.tunnel]
enabled = true

[services.webapp]
depends = [ { type = "systemd_unit", unit = "lb-balance.service", interval = "4s", timeout = "3900ms" } ]
metrics = [ { type = "script", argv = ["sh", "-c", "sleep 1; cat /run/health"], weight = 100, interval = "10s", timeout = "9900ms" } ]

[balancer]
set_sysctls = true

[clusters.webapp]
fwmark         = 7
autostart      = true
check_interval = "5s"
check_timeout  = "4900ms"
vips  = [ { address = "192.0.2.7", ports = [80] } ]
nodes = [ { address = "192.0.2.1" }, { address = "192.0.2.99" } ]
`

// units are the machine's units other than lb's. Those that lb's units order themselves after must exist; modprobe@ and
// network-online are only wanted.
var units = map[string]string{
	"basic.target":    "[Unit]\nRequires=sysinit.target\nAfter=sysinit.target\n",
	"sysinit.target":  "[Unit]\nDefaultDependencies=no\n",
	"shutdown.target": "[Unit]\nDefaultDependencies=no\n",
	"sockets.target":  "",
}

// machine is a host that runs systemd as its init.
type machine struct {
	host    *lab.Host
	systemd string // its PID on the host
	log     labtest.Output
}

// boot starts systemd with lb's units, except for the paths of lb and of its log, and with a shorter watchdog timeout,
// so that the test need not wait for minutes.
func boot(t *testing.T) *machine {
	t.Helper()
	binary := os.Getenv("LB_BIN")
	if binary == "" {
		t.Fatal("LB_BIN is not set: give it the path of the lb to test, as scripts/test does")
	}
	l := labtest.New(t)
	m := &machine{host: labtest.Host(t, l, labtest.Switch(t, l, "net"), "node01", "192.0.2.1/24")}
	labtest.Run(t, m.host, "mkdir", "-p", unitPath)
	// In its present path, a home or /tmp, the units may hide it from the daemons.
	program, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.host.WriteFile(lbPath, program, 0o755); err != nil {
		t.Fatal(err)
	}
	own, err := filepath.Glob("lb-*")
	if err != nil || len(own) != 4 {
		t.Fatalf("units %q, %v", own, err)
	}
	for _, name := range own {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		m.write(t, filepath.Join(unitPath, name), string(text))
	}
	for name, text := range units {
		m.write(t, filepath.Join(unitPath, name), text)
	}
	for unit, command := range map[string]string{"lb-agent": "agent", "lb-balance": "balance"} {
		labtest.Run(t, m.host, "mkdir", filepath.Join(unitPath, unit+".service.d"))
		m.write(t, filepath.Join(unitPath, unit+".service.d", "lab.conf"), fmt.Sprintf(
			"[Service]\nExecStart=\nExecStart=%s %s\nEnvironment=LB_CONFIG=/run/lb.toml\n"+
				"StandardOutput=append:/run/%s.log\nStandardError=inherit\nWatchdogSec=15s\n",
			lbPath, command, unit))
	}
	m.write(t, "/run/lb.toml", fleet)
	m.write(t, "/run/health", "92\n")
	const start = `read -r pid rest </proc/self/stat && echo "$pid" >/run/systemd.pid && ` +
		`mount -t proc proc /proc && umount /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && rm -rf /run/lb && ` +
		`exec env container=lab SYSTEMD_UNIT_PATH=` + unitPath + ` /lib/systemd/systemd --system --unit=basic.target --log-target=console`
	p, err := m.host.Start(lab.Command{
		Path: "unshare", Args: []string{"--pid", "--mount", "--ipc", "--cgroup", "--fork", "--kill-child", "sh", "-c", start},
		Stdout: &m.log, Stderr: &m.log,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Kill() }) // with its whole namespace
	labtest.Eventually(t, patience, "systemd runs", func() (bool, string) {
		out, err := m.host.Run(t.Context(), "cat", "/run/systemd.pid")
		m.systemd = strings.TrimSpace(out)
		if err != nil {
			return false, m.log.String()
		}
		out, err = m.host.Run(t.Context(), "nsenter", m.inside("systemctl", "is-active", "basic.target")...)
		return err == nil, out + m.log.String()
	})
	return m
}

func (m *machine) write(t *testing.T, path, text string) {
	t.Helper()
	if err := m.host.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// inside returns nsenter's arguments to run a command in systemd's namespaces.
func (m *machine) inside(args ...string) []string {
	return append([]string{"--target", m.systemd, "--mount", "--pid", "--cgroup"}, args...)
}

// systemctl runs systemctl and fails the test on error.
func (m *machine) systemctl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := m.host.Run(t.Context(), "nsenter", m.inside(append([]string{"systemctl"}, args...)...)...)
	if err != nil {
		t.Fatalf("systemctl %s: %v\n%s", strings.Join(args, " "), err, m.logs(t))
	}
	return out
}

// show returns a property of a unit.
func (m *machine) show(t *testing.T, unit, property string) string {
	t.Helper()
	return strings.TrimSpace(m.systemctl(t, "show", "--value", "-p", property, unit))
}

// logs returns the daemons' logs. They are in systemd's mount namespace; its services have their own.
func (m *machine) logs(t *testing.T) string {
	t.Helper()
	out, _ := m.host.Run(t.Context(), "nsenter", m.inside("sh", "-c", "tail -n 20 /run/lb-*.log")...) // the test fails anyway
	return out + m.log.String()
}

func (m *machine) table(t *testing.T) string {
	t.Helper()
	return labtest.Run(t, m.host, "ipvsadm", "-Sn")
}

// TestUnitsUnderSystemd runs both daemons as systemd services with all restrictions of the units.
func TestUnitsUnderSystemd(t *testing.T) {
	m := boot(t)
	m.systemctl(t, "start", "lb-balance.service")
	status := m.show(t, "lb-balance", "ActiveState") + " " + m.show(t, "lb-balance", "StatusText")
	if status != "active running, and the kernel is up to date" {
		t.Errorf("lb balance is %q", status)
	}
	if saved := m.table(t); !strings.Contains(saved, "-A -f 7 ") {
		t.Errorf("it reports that it is ready, but the kernel has\n%s", saved)
	}
	m.systemctl(t, "start", "lb-agent.service")
	healthy := func() (bool, string) {
		saved := m.table(t)
		return strings.Contains(saved, "-r 192.0.2.1:0 -i -w 92"), saved + m.logs(t)
	}
	labtest.Eventually(t, patience, "the node has its weight", healthy)
	if out := labtest.Run(t, m.host, "ip", "-brief", "address", "show", "tunl0"); !strings.Contains(out, "192.0.2.7/32") {
		t.Errorf("the agent's tunnel: %s\n%s", out, m.logs(t))
	}
	if got := strings.TrimSpace(labtest.Run(t, m.host, "cat", "/proc/sys/net/ipv4/vs/expire_nodest_conn")); got != "1" {
		t.Errorf("expire_nodest_conn is %s: set_sysctls did nothing\n%s", got, m.logs(t))
	}
	t.Run("a stop leaves the kernel's table, and systemd_unit notices it", func(t *testing.T) { m.testStop(t, healthy) })
	t.Run("a broken configuration is rejected and changes nothing", func(t *testing.T) { m.testBrokenConfig(t, healthy) })
	t.Run("a killed or hanging daemon is restarted", func(t *testing.T) { m.testRestart(t, healthy) })
	t.Run("no poll is refused while systemd holds the port", func(t *testing.T) { m.testSocketActivation(t, healthy) })
}

func (m *machine) testStop(t *testing.T, healthy func() (bool, string)) {
	m.systemctl(t, "stop", "lb-balance")
	if got := m.show(t, "lb-balance", "Result"); got != "success" {
		t.Errorf("the result of the stop is %s\n%s", got, m.logs(t))
	}
	if ok, last := healthy(); !ok {
		t.Errorf("after the stop:\n%s", last)
	}
	labtest.Eventually(t, patience, "the agent notices that the unit is not active", func() (bool, string) {
		out, err := m.host.Run(t.Context(), "curl", "-sS", "http://192.0.2.1:9293/webapp/status")
		return strings.Contains(out, "Health: 0\n"), fmt.Sprint(out, err, m.logs(t))
	})
	m.systemctl(t, "start", "lb-balance")
	labtest.Eventually(t, patience, "the node has its weight again", healthy)
}

func (m *machine) testBrokenConfig(t *testing.T, healthy func() (bool, string)) {
	m.write(t, "/run/lb.toml", "[clusters.webapp]\nfwmark = \"seven\"\n")
	for _, unit := range []string{"lb-agent", "lb-balance"} {
		pid := m.show(t, unit, "MainPID")
		m.systemctl(t, "reload", unit)
		if got := m.show(t, unit, "ActiveState"); got != "active" || m.show(t, unit, "MainPID") != pid {
			t.Errorf("after a reload with a broken configuration %s is %s\n%s", unit, got, m.logs(t))
		}
	}
	if ok, last := healthy(); !ok {
		t.Errorf("after the reload:\n%s", last)
	}
	m.systemctl(t, "stop", "lb-balance")
	if out, err := m.host.Run(t.Context(), "nsenter", m.inside("systemctl", "start", "lb-balance")...); err == nil {
		t.Errorf("it starts with a broken configuration: %s", out)
	}
	labtest.Eventually(t, patience, "systemd gives up", func() (bool, string) {
		got := fmt.Sprint(m.show(t, "lb-balance", "ActiveState"), " ", m.show(t, "lb-balance", "ExecMainStatus"), " ",
			m.show(t, "lb-balance", "NRestarts"))
		return got == "failed 78 0", got
	})
	m.write(t, "/run/lb.toml", fleet)
	m.systemctl(t, "start", "lb-balance")
	labtest.Eventually(t, patience, "the node has its weight again", healthy)
}

func (m *machine) testRestart(t *testing.T, healthy func() (bool, string)) {
	for _, signal := range []string{"KILL", "STOP"} {
		for _, unit := range []string{"lb-agent", "lb-balance"} {
			pid := m.show(t, unit, "MainPID")
			m.systemctl(t, "kill", "--kill-who=main", "--signal="+signal, unit)
			labtest.Eventually(t, patience, unit+" is restarted after SIG"+signal, func() (bool, string) {
				now, state := m.show(t, unit, "MainPID"), m.show(t, unit, "ActiveState")
				if !strings.Contains(m.table(t), "-A -f 7 ") {
					t.Fatalf("the service is missing from the kernel\n%s", m.logs(t))
				}
				return state == "active" && now != "0" && now != pid, state + " " + now + "\n" + m.logs(t)
			})
		}
	}
	labtest.Eventually(t, patience, "the node has its weight again", healthy)
}

// testSocketActivation restarts the agent during polls while systemd holds its port.
func (m *machine) testSocketActivation(t *testing.T, healthy func() (bool, string)) {
	m.systemctl(t, "stop", "lb-agent")
	m.systemctl(t, "start", "lb-agent.socket", "lb-agent-control.socket")
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: m.host.Dial}}
	var polls atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			resp, err := client.Get("http://192.0.2.1:9293/webapp/status")
			if err != nil {
				ended <- fmt.Errorf("poll %d: %w", polls.Load()+1, err)
				return
			}
			_ = resp.Body.Close()
			polls.Add(1)
		}
		ended <- nil
	}()
	polled := func(more int64, what string) {
		goal := polls.Load() + more
		labtest.Eventually(t, patience, what, func() (bool, string) {
			select {
			case err := <-ended:
				t.Fatalf("%v\n%s", err, m.logs(t))
			default:
			}
			return polls.Load() >= goal, m.logs(t)
		})
	}
	polled(5, "polls are answered")
	for range 3 {
		m.systemctl(t, "restart", "lb-agent")
		polled(5, "polls are answered after a restart")
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("%v\n%s", err, m.logs(t))
	}
	if out, err := m.host.Run(t.Context(), "nsenter", m.inside("grep", "signal: terminated", "/run/lb-agent.log")...); err == nil {
		t.Errorf("systemd killed the commands of checks, and the agent reported them as failed:\n%s", out)
	}
	out, err := m.host.Run(t.Context(), "nsenter", m.inside("env", "LB_CONFIG=/run/lb.toml", lbPath, "ctl", "list")...)
	if err != nil || !strings.Contains(out, "webapp") {
		t.Errorf("over the inherited socket: %v\n%s", err, out)
	}
	labtest.Eventually(t, patience, "the node has its weight again", healthy)
}
