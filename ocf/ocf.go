// Package ocf is the OCF resource agent with which a cluster manager, such as Pacemaker, runs a cluster of lb on load balancers.
//
// It talks to lb balance over its control socket and reads the kernel's own table. It guarantees: start returns when the kernel forwards
// with weights; monitor distinguishes running, cleanly stopped and failed; stop succeeds once the kernel no longer forwards, whatever the
// state of the daemon and its configuration (after a failed stop, the cluster manager fences the machine).
package ocf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/config/salvage"
	"github.com/braintree/lb/netx"
	"github.com/braintree/lb/netx/ipvs"
)

// The exit statuses of the OCF resource agent API, by their names there.
const (
	success          = 0
	errGeneric       = 1
	errArgs          = 2 // a parameter is wrong on this machine
	errUnimplemented = 3
	errPermission    = 4
	errInstalled     = 5 // something that the agent needs is missing on this machine
	errConfigured    = 6 // a parameter is wrong on any machine
	statusNotRunning = 7
)

// Agent is the resource agent of one machine.
type Agent struct {
	OpenTable func() (ipvs.Table, error) // opens the kernel's IPVS table
	Load      config.Loader
	// StateDir keeps one small file for each cluster that was started: its marks in the kernel, and whether it was stopped since. It is
	// the last source of the marks when daemon and configuration are gone. It has to be empty after a boot, as the kernel's table is, and
	// to outlive the daemon. So it is not the folder of the sockets, which systemd removes with the daemon.
	StateDir      string
	PollInterval  time.Duration // between two checks of an expected state
	GracePeriod   time.Duration // for a state to become normal again, as when the daemon restarts
	WeightTimeout time.Duration // for the weights to reach the kernel after a start
	DaemonTimeout time.Duration // for one response of the daemon; it leaves time to stop without a hung one
}

// New returns the agent of this machine.
func New(openTable func() (ipvs.Table, error), load config.Loader) Agent {
	return Agent{
		OpenTable:     openTable,
		Load:          load,
		StateDir:      "/run/lb-ocf",
		PollInterval:  100 * time.Millisecond,
		GracePeriod:   6 * time.Second,
		WeightTimeout: 15 * time.Second,
		DaemonTimeout: 4 * time.Second,
	}
}

// resource is one cluster during one action.
type resource struct {
	Agent
	cluster string
	config  string
	control string        // the control socket; "": the configuration names it
	timeout time.Duration // of the action
	stderr  io.Writer
}

// Run carries out the action in args, with parameters in env (pairs as in os.Environ), and returns the exit status.
func (a Agent) Run(ctx context.Context, args, env []string, stdout, stderr io.Writer) int {
	if len(args) != 1 {
		fmt.Fprint(stderr, usage)
		return errArgs
	}
	switch args[0] {
	case "meta-data":
		fmt.Fprint(stdout, metadata)
		return success
	case "usage", "help", "--help", "-h":
		fmt.Fprint(stdout, usage)
		return success
	}
	actions := map[string]func(resource, context.Context) int{
		"start":        resource.start,
		"stop":         resource.stop,
		"monitor":      resource.monitor,
		"status":       resource.monitor,
		"reload":       resource.monitor, // the cluster keeps running; what counts is whether the new parameters find it
		"reload-agent": resource.monitor,
		"validate-all": resource.validate,
	}
	action, ok := actions[args[0]]
	if !ok {
		fmt.Fprintf(stderr, "lb ocf: unknown action %q\n%s", args[0], usage)
		return errUnimplemented
	}
	r := resource{Agent: a, stderr: stderr}
	if status := r.parseParameters(env); status != success {
		return status
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	return action(r, ctx)
}

// parseParameters reads the parameters that the cluster manager passes in the environment.
func (r *resource) parseParameters(env []string) int {
	values := map[string]string{}
	for _, pair := range env {
		if key, value, _ := strings.Cut(pair, "="); value != "" {
			values[key] = value
		}
	}
	r.cluster = values["OCF_RESKEY_cluster"]
	r.config = values["OCF_RESKEY_config"]
	r.control = values["OCF_RESKEY_control"]
	if r.config == "" {
		r.config = client.DefaultConfig
	}
	if r.cluster == "" {
		r.logf("the parameter cluster is missing: set it to the name of a cluster in %s", r.config)
		return errConfigured
	}
	if strings.Contains(r.cluster, "/") || r.cluster == "." || r.cluster == ".." {
		r.logf("%q cannot be the name of a cluster: set the parameter cluster to the name of one in %s", r.cluster, r.config)
		return errConfigured
	}
	r.timeout = 20 * time.Second
	if ms, err := strconv.Atoi(values["OCF_RESKEY_CRM_meta_timeout"]); err == nil && ms > 0 {
		r.timeout = time.Duration(ms) * time.Millisecond
	}
	r.timeout = r.timeout * 9 / 10 // answer before the cluster manager kills the process
	r.GracePeriod = min(r.GracePeriod, r.timeout/2)
	r.WeightTimeout = min(r.WeightTimeout, r.timeout*3/4)
	r.DaemonTimeout = min(r.DaemonTimeout, r.timeout/4)
	return success
}

// logf writes one line for the cluster manager's log.
func (r resource) logf(format string, args ...any) {
	fmt.Fprintf(r.stderr, "lb ocf: "+format+"\n", args...)
}

// pause waits for one poll interval. It returns false if ctx ends first.
func (r resource) pause(ctx context.Context) bool {
	t := time.NewTimer(r.PollInterval)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// connect returns a client of lb balance: at the parameter's socket, otherwise at the configuration's, otherwise at the default one.
func (r resource) connect(found salvage.Found) (*client.Client, error) {
	address := r.control
	if address == "" {
		address = found.BalancerControl
	}
	if address == "" {
		address = client.DefaultBalancerControl
	}
	return client.New(client.Balancer(), address)
}

// clusterState returns the state of the cluster in lb balance.
func (r resource) clusterState(ctx context.Context, c *client.Client) (api.ClusterStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, r.DaemonTimeout)
	defer cancel()
	return c.Cluster(ctx, r.cluster)
}

// services returns the kernel's services with one of the marks: one for each mark and IP version.
func services(ctx context.Context, table ipvs.Table, marks []ipvs.Mark) ([]ipvs.Service, error) {
	all, err := table.Dump(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(s ipvs.Service) bool { return !slices.Contains(marks, s.Mark) }), nil
}

// kernelError logs an error of the kernel and returns its status.
func (r resource) kernelError(err error) int {
	r.logf("%v", err)
	switch {
	case errors.Is(err, netx.ErrNoIPVS):
		return errInstalled
	case errors.Is(err, netx.ErrNoPrivilege):
		return errPermission
	}
	return errGeneric
}
