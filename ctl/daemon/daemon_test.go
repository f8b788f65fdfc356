package daemon

import (
	"bytes"
	"context"
	"errors"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// os/signal keeps one goroutine for the process once a signal was asked for.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("os/signal.signal_recv"), goleak.IgnoreTopFunction("os/signal.loop"))
}

func raise(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(syscall.Getpid(), s); err != nil {
		t.Fatal(err)
	}
}

func TestSignalsEndAndReload(t *testing.T) {
	for _, end := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(end.String(), func(t *testing.T) {
			err := Until(t.Context(), func(ctx context.Context, reload <-chan struct{}) error {
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

func TestFailureEndsTheWait(t *testing.T) {
	broken := errors.New("broken")
	if err := Until(t.Context(), func(context.Context, <-chan struct{}) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestLog(t *testing.T) {
	tests := map[string]struct{ level, format, want, err string }{
		"text":           {"info", "text", "level=INFO msg=hello cluster=webapp\n", ""},
		"json":           {"debug", "json", `"msg":"hello","cluster":"webapp"}` + "\n", ""},
		"level too high": {"warn", "text", "", ""},
		"level unknown":  {"loud", "text", "", `--log-level "loud": it is debug, info, warn or error`},
		"format unknown": {"info", "xml", "", `--log-format "xml": it is text or json`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			log, err := Log(&out, tt.level, tt.format)
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

func TestSpareLeavesTheLastWordToTheEnvironment(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	for _, tt := range []struct {
		gogc string
		want int
	}{{"", thrift}, {"100", 100}} {
		t.Setenv("GOGC", tt.gogc)
		Spare()
		if got := debug.SetGCPercent(100); got != tt.want {
			t.Errorf("with GOGC=%q it is %d, want %d", tt.gogc, got, tt.want)
		}
	}
}
