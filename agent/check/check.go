// Package check measures one thing about the machine or what it runs, once and within a time limit.
package check

import (
	"context"
	"fmt"
	"sort"
	"strings"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/sanitize"
)

// maxDetail bounds the reason that a result carries, in bytes.
const maxDetail = 300

// Check is one dependency or metric of a service, ready to run.
type Check interface {
	// Run measures once. It ends soon after ctx does, and never starts a process or a connection that outlives it.
	Run(ctx context.Context) Result
	// Display names the check as litmus_paper does, such as Metric::CPULoad(50). It stays the same from run to run.
	Display() string
	// Floor is the least that a metric counts whatever it measures: 1 for load metrics, else 0.
	Floor() int
}

// Result is what one run found.
type Result struct {
	OK      bool     // a dependency: it is well; a metric: it could be measured
	Value   float64  // a metric: what it adds to the health, 0 to its weight
	Detail  string   // why, in one bounded line
	Shown   string   // Display with this run's figures in it, where litmus_paper shows such; "": there are none
	Samples []Sample // figures for GET /SERVICE/metrics
}

// Sample is one figure, under the name that litmus_paper gives it.
type Sample struct {
	Name  string
	Value float64
}

// Host is where the kernel's files are; the zero value is this machine's.
type Host struct {
	Proc   string // a procfs; "" is /proc
	Cgroup string // a cgroup v2 tree; "" is /sys/fs/cgroup

	shared *shared // nil: every check reads by itself
}

func (h Host) withDefaults() Host {
	if h.Proc == "" {
		h.Proc = "/proc"
	}
	if h.Cgroup == "" {
		h.Cgroup = "/sys/fs/cgroup"
	}
	return h
}

// kind names a check type in one of its roles.
type kind struct {
	role config.Role
	name string
}

// constructor decodes a check's own options, recording every mistake in c.Options.
type constructor func(c config.Check, h Host) Check

// constructors is every check type there is. To add one: its file, its test, and one row here.
func constructors() map[kind]constructor {
	return map[kind]constructor{
		{config.Dependency, "file_contents"}:    newFileContents,
		{config.Dependency, "haproxy_backends"}: newHAProxyBackends,
		{config.Dependency, "http"}:             newHTTP,
		{config.Dependency, "nagios"}:           newNagios,
		{config.Dependency, "script"}:           newScript,
		{config.Dependency, "systemd_unit"}:     newSystemdUnit,
		{config.Dependency, "tcp"}:              newTCP,

		{config.Metric, "available_memory"}:        newAvailableMemory,
		{config.Metric, "balancer_cluster"}:        newBalancerCluster,
		{config.Metric, "constant"}:                newConstant,
		{config.Metric, "cpu_load"}:                newCPULoad,
		{config.Metric, "haproxy_backends_health"}: newHAProxyBackendsHealth,
		{config.Metric, "internet_health"}:         newInternetHealth,
		{config.Metric, "nagios"}:                  newNagiosMetric,
		{config.Metric, "pressure"}:                newPressure,
		{config.Metric, "prometheus"}:              newPrometheus,
		{config.Metric, "script"}:                  newScriptMetric,
		{config.Metric, "tcp_socket_utilization"}:  newTCPSocketUtilization,
		{config.Metric, "unix_socket_utilization"}: newUnixSocketUtilization,
	}
}

// New makes the check that c describes, or reports every mistake in its options.
func New(c config.Check, h Host) (Check, error) {
	table := constructors()
	build, ok := table[kind{c.Role, c.Type}]
	if !ok {
		c.Options.Invalid("type", fmt.Sprintf("is no type of %s", c.Role),
			"use one of "+strings.Join(types(table, c.Role), ", "))
		return nil, c.Options.Err()
	}
	made := build(c, h.withDefaults())
	if err := c.Options.Err(); err != nil {
		return nil, err
	}
	return made, nil
}

// Validate reports every mistake in a check's own options; it is the validator that config.Load takes.
func Validate(c config.Check) error {
	_, err := New(c, Host{})
	return err
}

// types lists the type names of a role, sorted.
func types(table map[kind]constructor, role config.Role) []string {
	var names []string
	for k := range table {
		if k.role == role {
			names = append(names, k.name)
		}
	}
	sort.Strings(names)
	return names
}

// good and bad make the result of a dependency, and bad that of a metric that could not be measured.
func good(format string, args ...any) Result {
	return Result{OK: true, Detail: sanitize.Line(fmt.Sprintf(format, args...), maxDetail)}
}

func bad(format string, args ...any) Result {
	return Result{Detail: sanitize.Line(fmt.Sprintf(format, args...), maxDetail)}
}

// measured makes the result of a metric: value is held within 0 and weight.
func measured(value float64, weight int, format string, args ...any) Result {
	r := good(format, args...)
	r.Value = max(0, min(value, float64(weight)))
	return r
}

// onlyReads is embedded by checks that read files at most. Nothing can interrupt that, so they have no use for a time limit, which would
// cost about as much as the check. A file that cannot be read holds the check; its last result then grows stale.
type onlyReads struct{}

func (onlyReads) needsNoLimit() {}

// OnlyReads tells whether Run has no use for a time limit.
func OnlyReads(c Check) bool {
	_, ok := c.(interface{ needsNoLimit() })
	return ok
}

// noFloor is embedded by the checks whose zero means zero.
type noFloor struct{}

func (noFloor) Floor() int { return 0 }

// loadFloor is embedded by load metrics: a busy machine still works, and a fleet whose machines are all busy must not
// empty itself.
type loadFloor struct{}

func (loadFloor) Floor() int { return 1 }
