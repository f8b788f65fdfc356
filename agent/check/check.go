// Package check has the types of checks: each measures one aspect of the machine or of what it runs, once and
// within a timeout.
package check

import (
	"context"
	"fmt"
	"sort"
	"strings"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/sanitize"
)

// maxDetail limits Result.Detail, in bytes.
const maxDetail = 300

// Check is one dependency or metric of a service, ready to run.
type Check interface {
	// Run measures once. It returns soon after ctx ends and leaves no process or connection behind.
	Run(ctx context.Context) Result
	// Display names the check as litmus_paper does, for example Metric::CPULoad(50). It is the same for every run.
	Display() string
	// Floor is the minimum contribution of a metric, whatever it measures: 1 for load metrics, 0 for all others.
	Floor() int
}

// Result is the outcome of one run.
type Result struct {
	OK      bool     // the dependency is up, or the metric could be measured
	Value   float64  // contribution of a metric to the health, 0 to its weight
	Detail  string   // the reason, in one line of at most 300 bytes
	Shown   string   // Display with this run's figures, for types where litmus_paper shows them; "" for all others
	Samples []Sample // raw values for GET /SERVICE/metrics
}

// Sample is a raw value, named as in litmus_paper.
type Sample struct {
	Name  string
	Value float64
}

// Host says where to find the kernel's files. The zero value is this machine.
type Host struct {
	Proc   string // procfs; "" is /proc
	Cgroup string // cgroup v2 tree; "" is /sys/fs/cgroup

	shared *shared // nil: each check reads for itself
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

// kind identifies a type of check in one role.
type kind struct {
	role config.Role
	name string
}

// constructor decodes a check's own options and reports every mistake to c.Options.
type constructor func(c config.Check, h Host) Check

// constructors lists all types of checks. To add one, write its file and its test, and add a row here.
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

// New returns the check that c describes. The error has every mistake in its options.
func New(c config.Check, h Host) (Check, error) {
	table := constructors()
	build, ok := table[kind{c.Role, c.Type}]
	if !ok {
		c.Options.Invalid("type", fmt.Sprintf("is not a %s type", c.Role),
			"use one of "+strings.Join(types(table, c.Role), ", "))
		return nil, c.Options.Err()
	}
	made := build(c, h.withDefaults())
	if err := c.Options.Err(); err != nil {
		return nil, err
	}
	return made, nil
}

// Validate reports every mistake in a check's own options. It is the validator for config.Load.
func Validate(c config.Check) error {
	_, err := New(c, Host{})
	return err
}

// types lists the types of a role by name.
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

// passed is the result of a dependency that is up.
func passed(format string, args ...any) Result {
	return Result{OK: true, Detail: sanitize.Line(fmt.Sprintf(format, args...), maxDetail)}
}

// failed is the result of a dependency that is down, or of a metric that could not be measured.
func failed(format string, args ...any) Result {
	return Result{Detail: sanitize.Line(fmt.Sprintf(format, args...), maxDetail)}
}

// measured is the result of a metric. It limits value to 0 to weight.
func measured(value float64, weight int, format string, args ...any) Result {
	r := passed(format, args...)
	r.Value = max(0, min(value, float64(weight)))
	return r
}

// onlyReads is embedded by checks that do nothing but read files. Reads cannot be interrupted, so a timeout
// would be useless, and it costs about as much as the check. If a read blocks, the latest result goes stale.
type onlyReads struct{}

func (onlyReads) needsNoTimeout() {}

// OnlyReads reports whether a timeout has no effect on Run.
func OnlyReads(c Check) bool {
	_, ok := c.(interface{ needsNoTimeout() })
	return ok
}

// noFloor is embedded by checks that may contribute 0.
type noFloor struct{}

func (noFloor) Floor() int { return 0 }

// loadFloor is embedded by load metrics: a busy machine still works, and if all machines of a fleet are busy
// they must not all go out of rotation.
type loadFloor struct{}

func (loadFloor) Floor() int { return 1 }
