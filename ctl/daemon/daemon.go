// Package daemon connects a daemon to its process: signals, log and Go runtime settings.
package daemon

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/ctl/usage"
	"github.com/braintree/lb/netx/systemd"
)

// Env is what a daemon works with.
type Env struct {
	Config  *config.Config                 // at the start
	Load    func() (*config.Config, error) // loads the configuration again
	Reload  <-chan struct{}                // receives a value for each SIGHUP
	Log     *slog.Logger
	Manager *systemd.Notifier
}

// Run prepares a daemon that logs to log and runs it until a signal stops it.
func Run(ctx context.Context, log *slog.Logger, load func() (*config.Config, error), run func(context.Context, Env) error) error {
	manager, err := systemd.New(log)
	if err != nil {
		return err
	}
	return RunUntilSignal(ctx, func(ctx context.Context, reload <-chan struct{}) error {
		cfg, err := load() // before any access to the kernel: errors of the configuration show without privilege
		if err != nil {
			return err
		}
		return run(ctx, Env{Config: cfg, Load: load, Reload: reload, Log: log, Manager: manager})
	})
}

// RunUntilSignal calls run with a context that the first SIGTERM or SIGINT cancels, and a channel that receives a value for each SIGHUP.
// The channel is buffered: a SIGHUP during a reload causes another reload. A second SIGTERM or SIGINT kills the process.
func RunUntilSignal(ctx context.Context, run func(ctx context.Context, reload <-chan struct{}) error) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	hangups, reload := make(chan os.Signal, 1), make(chan struct{}, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	var forwarding sync.WaitGroup
	forwarding.Go(func() {
		for {
			select {
			case <-ctx.Done():
				stop() // the next signal has its default effect
				return
			case <-hangups:
			}
			select {
			case reload <- struct{}{}:
			default: // a reload is already pending
			}
		}
	})
	defer forwarding.Wait()
	defer stop()
	defer signal.Stop(hangups)
	return run(ctx, reload)
}

const (
	// gcPercent is the garbage, in percent of the live heap, that triggers a collection. Go's default is 100.
	gcPercent = 50
	// multiProcessorNodes is the number of nodes from which a balancer may use more than one processor: one processor of a slow virtual
	// machine cannot poll 500 nodes.
	multiProcessorNodes = 200
)

// TuneRuntime reduces the memory and CPU time of a balancer with these clusters. It collects garbage earlier, because the balancer holds
// much state and allocates little. With few nodes it uses one processor: handing small tasks to another thread costs more than the tasks,
// above all on a virtual machine. GOGC and GOMAXPROCS in the environment take precedence.
func TuneRuntime(clusters []config.Cluster) {
	nodes := 0
	for _, c := range clusters {
		nodes += len(c.Nodes)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMAXPROCS") == "" && nodes < multiProcessorNodes {
		runtime.GOMAXPROCS(1)
	}
}

// NewLogger returns a logger that writes to w. level is debug, info, warn or error; format is text or json. Anything else is a
// *usage.Error.
func NewLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usage.Errorf("--log-level %q: use debug, info, warn or error", level)
	}
	options := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, usage.Errorf("--log-format %q: use text or json", format)
}
