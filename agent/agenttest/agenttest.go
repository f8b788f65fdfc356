// Package agenttest holds test tools for the agent's packages: a check that follows a script and a log
// that can be searched.
package agenttest

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/braintree/lb/agent/check"
)

// Check is a check that does what a test says.
type Check struct {
	Do         func(ctx context.Context, n int) check.Result // n counts runs from 1
	Runs       atomic.Int32
	InProgress atomic.Int32
	Overlapped atomic.Bool // two runs were in progress at the same time
}

// Passing returns a check that always succeeds.
func Passing() *Check {
	return &Check{Do: func(context.Context, int) check.Result { return check.Result{OK: true} }}
}

// Run is for check.Check.
func (c *Check) Run(ctx context.Context) check.Result {
	if c.InProgress.Add(1) > 1 {
		c.Overlapped.Store(true)
	}
	defer c.InProgress.Add(-1)
	return c.Do(ctx, int(c.Runs.Add(1)))
}

// Display is for check.Check.
func (c *Check) Display() string { return "Dependency::Scripted(x)" }

// Floor is for check.Check.
func (c *Check) Floor() int { return 0 }

// Log collects log lines. The zero value is ready for use.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write is for io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// String returns everything logged so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Count counts the lines that contain all of the texts.
func (l *Log) Count(texts ...string) int {
	n := 0
	for line := range strings.Lines(l.String()) {
		all := true
		for _, t := range texts {
			all = all && strings.Contains(line, t)
		}
		if all {
			n++
		}
	}
	return n
}

// Logger makes a logger that writes to the log, debug messages included.
func (l *Log) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
