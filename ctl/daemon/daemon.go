// Package daemon gives a daemon what it needs from the process that it runs in: an end and a reload by signal, and a log.
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
)

// Until calls run with a context that ends at the first SIGTERM or SIGINT, and with a channel that gets a value after a SIGHUP. The
// channel is buffered, so that a SIGHUP during a reload leads to another. A second signal to end ends the process at once.
func Until(ctx context.Context, run func(ctx context.Context, reload <-chan struct{}) error) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	hangups, reload := make(chan os.Signal, 1), make(chan struct{}, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	var forwarding sync.WaitGroup
	forwarding.Go(func() {
		for {
			select {
			case <-ctx.Done():
				stop() // what comes next has its usual effect
				return
			case <-hangups:
			}
			select {
			case reload <- struct{}{}:
			default: // one is asked for already
			}
		}
	})
	defer forwarding.Wait()
	defer stop()
	defer signal.Stop(hangups)
	return run(ctx, reload)
}

const (
	// thrift is how much garbage may pile up until it is collected, in percent of what lives. Go's own is 100.
	thrift = 50
	// many is from how many nodes on a balancer may have more than one processor: one is not enough to poll 500 of them on a slow virtual machine.
	many = 200
)

// Spare has a balancer of these clusters take up less of its machine. It collects garbage sooner, since it has much state and little to do. And
// where there are few nodes it is content with one processor, for else it hands each little thing on from one thread to another: to wake
// that up takes longer than the thing, above all on a virtual machine. What the environment has as GOGC and GOMAXPROCS counts more.
func Spare(clusters []config.Cluster) {
	nodes := 0
	for _, c := range clusters {
		nodes += len(c.Nodes)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(thrift)
	}
	if os.Getenv("GOMAXPROCS") == "" && nodes < many {
		runtime.GOMAXPROCS(1)
	}
}

// Log returns a logger to w. Level is debug, info, warn or error; format is text or json. Anything else is a *usage.Error.
func Log(w io.Writer, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usage.Errorf("--log-level %q: it is debug, info, warn or error", level)
	}
	options := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, usage.Errorf("--log-format %q: it is text or json", format)
}
