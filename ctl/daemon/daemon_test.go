package daemon

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/braintree/lb/config"
)

func TestMain(m *testing.M) {
	// os/signal keeps one goroutine after the first Notify.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("os/signal.signal_recv"), goleak.IgnoreTopFunction("os/signal.loop"))
}

func raise(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(syscall.Getpid(), s); err != nil {
		t.Fatal(err)
	}
}

func TestSignalsStopAndReload(t *testing.T) {
	for _, end := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(end.String(), func(t *testing.T) {
			err := RunUntilSignal(t.Context(), func(ctx context.Context, reload <-chan struct{}) error {
				for range 2 {
					raise(t, syscall.SIGHUP)
					<-reload
				}
				raise(t, end)
				<-ctx.Done()
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAnErrorEndsTheRun(t *testing.T) {
	broken := errors.New("broken")
	if err := RunUntilSignal(t.Context(), func(context.Context, <-chan struct{}) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestNewLogger(t *testing.T) {
	tests := map[string]struct{ level, format, want, err string }{
		"text":           {"info", "text", "level=INFO msg=hello cluster=webapp\n", ""},
		"json":           {"debug", "json", `"msg":"hello","cluster":"webapp"}` + "\n", ""},
		"below level":    {"warn", "text", "", ""},
		"level unknown":  {"loud", "text", "", `--log-level "loud": use debug, info, warn or error`},
		"format unknown": {"info", "xml", "", `--log-format "xml": use text or json`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			log, err := NewLogger(&out, tt.level, tt.format)
			if tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Errorf("got %v, want %s", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			log.Info("hello", "cluster", "webapp")
			if !strings.HasSuffix(out.String(), tt.want) || (tt.want == "") != (out.Len() == 0) {
				t.Errorf("got %q, want %q at the end", out.String(), tt.want)
			}
		})
	}
}

func TestTuneRuntimeYieldsToTheEnvironment(t *testing.T) {
	processors, collector := runtime.GOMAXPROCS(2), debug.SetGCPercent(100)
	defer func() { debug.SetGCPercent(collector); runtime.GOMAXPROCS(processors) }()
	for _, tt := range []struct {
		gogc, gomaxprocs      string
		nodes                 int
		collector, processors int
	}{
		{"", "", 100, gcPercent, 1},
		{"", "", multiProcessorNodes, gcPercent, 2},
		{"100", "", 100, 100, 1},
		{"", "2", 100, gcPercent, 2},
	} {
		t.Setenv("GOGC", tt.gogc)
		t.Setenv("GOMAXPROCS", tt.gomaxprocs)
		TuneRuntime([]config.Cluster{{Nodes: make([]config.Node, 1)}, {Nodes: make([]config.Node, tt.nodes-1)}})
		collector, processors := debug.SetGCPercent(100), runtime.GOMAXPROCS(2)
		if collector != tt.collector || processors != tt.processors {
			t.Errorf("%d nodes, GOGC=%q, GOMAXPROCS=%q: %d and %d, want %d and %d", tt.nodes, tt.gogc, tt.gomaxprocs, collector,
				processors, tt.collector, tt.processors)
		}
	}
}
