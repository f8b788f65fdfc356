// Package ocf is the resource agent by which a cluster manager, such as Pacemaker, moves a cluster of lb between load balancers.
//
// It asks lb balance over its control socket and looks at the kernel's own table. What it promises: start returns when the
// kernel forwards with weights; monitor tells running, cleanly stopped and failed apart; stop succeeds once the kernel no longer
// forwards, whatever has become of the daemon and its configuration (a failed stop gets the machine fenced).
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

// The exit statuses of the OCF resource agent API, as far as they are used here.
const (
	success          = 0
	errGeneric       = 1
	errArgs          = 2 // a parameter is not right on this machine
	errUnimplemented = 3
	errPermission    = 4
	errInstalled     = 5 // something that is needed is not on this machine
	errConfigured    = 6 // a parameter is not right on any machine
	statusNotRunning = 7
)

// Machine is what the actions act on.
type Machine struct {
	OpenTable func() (ipvs.Table, error) // the kernel's
	LoadFile  config.Loader              // of the configuration, strict
	// StateDir keeps one small file for each cluster that was started: the mark that it has in the kernel, and whether it was
	// stopped since. It is the last way to know when daemon and configuration are gone. It should be empty after a boot, as the kernel's table is, and
	// outlive the daemon, so it is not the folder of the sockets, which systemd removes with the daemon.
	StateDir string
	Pace     time.Duration // between two looks at what should become true
	Patience time.Duration // for what should be true already and may be so again, as when the daemon restarts
	Settle   time.Duration // for the weights to be in the kernel after a start
	AskLimit time.Duration // for one answer of the daemon; a hung one must leave time to stop without it
}

// ThisMachine is the one that we run on.
func ThisMachine(open func() (ipvs.Table, error), load config.Loader) Machine {
	return Machine{
		OpenTable: open,
		LoadFile:  load,
		StateDir:  "/run/lb-ocf",
		Pace:      100 * time.Millisecond,
		Patience:  6 * time.Second,
		Settle:    15 * time.Second,
		AskLimit:  4 * time.Second,
	}
}

// resource is one cluster under one action.
type resource struct {
	Machine
	cluster string
	config  string
	address string        // of the control socket, "" where only the configuration can tell
	limit   time.Duration // that the cluster manager gives this action
	out     io.Writer
	err     io.Writer
}

// Run carries out the action that args name, with parameters in env (pairs as in os.Environ), and returns the exit status.
func (m Machine) Run(ctx context.Context, args, env []string, stdout, stderr io.Writer) int {
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
		"reload":       resource.monitor, // the cluster goes on; what counts is whether the new parameters lead to it
		"reload-agent": resource.monitor,
		"validate-all": resource.validate,
	}
	action, ok := actions[args[0]]
	if !ok {
		fmt.Fprintf(stderr, "lb ocf: no action %q\n%s", args[0], usage)
		return errUnimplemented
	}
	r := resource{Machine: m, out: stdout, err: stderr}
	if status := r.parameters(env); status != success {
		return status
	}
	ctx, cancel := context.WithTimeout(ctx, r.limit)
	defer cancel()
	return action(r, ctx)
}

// parameters reads what the cluster manager gives in the environment.
func (r *resource) parameters(env []string) int {
	values := map[string]string{}
	for _, pair := range env {
		if key, value, _ := strings.Cut(pair, "="); value != "" {
			values[key] = value
		}
	}
	r.cluster = values["OCF_RESKEY_cluster"]
	r.config = values["OCF_RESKEY_config"]
	r.address = values["OCF_RESKEY_control"]
	if r.config == "" {
		r.config = client.DefaultConfig
	}
	if r.cluster == "" {
		r.say("the parameter cluster is missing: name a cluster of %s", r.config)
		return errConfigured
	}
	if strings.Contains(r.cluster, "/") || r.cluster == "." || r.cluster == ".." {
		r.say("%q can be no cluster: name one of %s", r.cluster, r.config)
		return errConfigured
	}
	r.limit = 20 * time.Second
	if ms, err := strconv.Atoi(values["OCF_RESKEY_CRM_meta_timeout"]); err == nil && ms > 0 {
		r.limit = time.Duration(ms) * time.Millisecond
	}
	r.limit = r.limit * 9 / 10 // to answer before the cluster manager kills us
	r.Patience = min(r.Patience, r.limit/2)
	r.Settle = min(r.Settle, r.limit*3/4)
	r.AskLimit = min(r.AskLimit, r.limit/4)
	return success
}

// say writes one line for the cluster manager's log.
func (r resource) say(format string, args ...any) {
	fmt.Fprintf(r.err, "lb ocf: "+format+"\n", args...)
}

// wait sleeps for the pace and tells whether there is time left.
func (r resource) wait(ctx context.Context) bool {
	t := time.NewTimer(r.Pace)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// daemon returns a client of lb balance.
func (r resource) daemon(found salvage.Found) (*client.Client, error) {
	address := r.address
	if address == "" {
		address = found.BalancerControl
	}
	if address == "" {
		address = client.DefaultBalancerControl
	}
	return client.New(client.Balancer(), address)
}

// ask asks lb balance for the state of the cluster.
func (r resource) ask(ctx context.Context, c *client.Client) (api.ClusterStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, r.AskLimit)
	defer cancel()
	return c.Cluster(ctx, r.cluster)
}

// services returns the kernel's services that have one of the marks. A kernel without IPVS has none.
func services(ctx context.Context, table ipvs.Table, marks []ipvs.Mark) ([]ipvs.Service, error) {
	all, err := table.Dump(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(s ipvs.Service) bool { return !slices.Contains(marks, s.Mark) }), nil
}

// kernelTrouble says what is wrong with the kernel and returns the status for it.
func (r resource) kernelTrouble(err error) int {
	r.say("%v", err)
	switch {
	case errors.Is(err, netx.ErrNoIPVS):
		return errInstalled
	case errors.Is(err, netx.ErrNoPrivilege):
		return errPermission
	}
	return errGeneric
}

// validate checks that the parameters make sense on this machine.
func (r resource) validate(context.Context) int {
	cfg, err := r.LoadFile(r.config)
	if err != nil {
		if _, salvageErr := salvage.Read(r.config); isAbsent(salvageErr) {
			r.say("%v", err)
			return errInstalled
		}
		r.say("%s has mistakes:\n%v", r.config, err)
		return errArgs
	}
	if _, ok := cfg.Cluster(r.cluster); !ok {
		r.say("%s has no cluster %q: add [clusters.%s] or correct the parameter cluster", r.config, r.cluster, r.cluster)
		return errArgs
	}
	if _, err := r.daemon(salvage.Found{BalancerControl: cfg.Balancer.Control}); err != nil {
		r.say("parameter control: %v", err)
		return errArgs
	}
	return success
}
