package main

import (
	"context"
	"io"
	"log/slog"

	"github.com/urfave/cli/v2"

	"github.com/braintree/lb/agent"
	"github.com/braintree/lb/agent/check"
	"github.com/braintree/lb/balancer"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/ctl/cmdline"
	"github.com/braintree/lb/ctl/daemon"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/listen"
	"github.com/braintree/lb/netx/mark"
	"github.com/braintree/lb/netx/systemd"
	"github.com/braintree/lb/netx/tunnel"
)

// daemonEnv is what both daemons work with.
type daemonEnv struct {
	cfg     *config.Config                 // at the start
	load    func() (*config.Config, error) // loads the configuration again
	reload  <-chan struct{}                // receives a value for each SIGHUP
	log     *slog.Logger
	manager *systemd.Notifier
}

// runDaemon prepares a daemon and runs it until a signal stops it.
func (p process) runDaemon(c *cli.Context, run func(context.Context, daemonEnv) error) error {
	if err := cmdline.Arguments(c, 0, 0); err != nil {
		return err
	}
	log, err := daemon.NewLogger(p.err, c.String("log-level"), c.String("log-format"))
	if err != nil {
		return err
	}
	manager, err := systemd.New(log)
	if err != nil {
		return err
	}
	load := func() (*config.Config, error) { return loadConfig(c.String("config")) }
	return daemon.RunUntilSignal(c.Context, func(ctx context.Context, reload <-chan struct{}) error {
		cfg, err := load() // before any access to the kernel: errors of the configuration show without privilege
		if err != nil {
			return err
		}
		return run(ctx, daemonEnv{cfg: cfg, load: load, reload: reload, log: log, manager: manager})
	})
}

func runAgent(ctx context.Context, e daemonEnv) error {
	sockets, err := listen.InheritSockets()
	if err != nil {
		return err
	}
	setup := tunnel.New(e.cfg.Agent.TunnelDir(), e.log)
	a, err := agent.New(ctx, agent.Options{
		Load: e.load, Reload: e.reload, Log: e.log, Version: version(), Manager: e.manager, Sockets: sockets,
		Tunnel: func(ctx context.Context, want tunnel.Desired) error {
			_, err := setup.Up(ctx, want)
			return err
		},
	})
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

// runBalancer runs the daemon or, if dryRun is not nil, writes to it what a start would change.
func runBalancer(ctx context.Context, e daemonEnv, dryRun io.Writer) error {
	daemon.TuneRuntime(e.cfg.Clusters)
	table, err := openTable()
	if err != nil {
		return err
	}
	defer table.Close()
	figures, err := openTable() // its own handle, so that reading the status never delays a weight
	if err != nil {
		return err
	}
	defer figures.Close()
	marks, err := mark.NewKernel()
	if err != nil {
		return err
	}
	defer marks.Close()
	o := balancer.Options{
		Load: e.load, Checks: check.Validate, Reload: e.reload, Table: table, Figures: figures, Marks: marks,
		Settings: ipvs.KernelSysctls, Log: e.log,
		Version: version(), Manager: e.manager, Lock: balancer.Lock,
	}
	if dryRun != nil {
		return balancer.DryRun(ctx, o, dryRun)
	}
	b, err := balancer.New(ctx, o)
	if err != nil {
		return err
	}
	return b.Run(ctx)
}
