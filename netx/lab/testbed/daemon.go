package testbed

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/braintree/lb/netx/lab"
)

// startTime bounds how long a daemon may take until its control socket answers; a guest under emulation is slow.
const startTimeout = 60 * time.Second

// Daemon is one lb process on a host, that can be ended and started again.
type Daemon struct {
	Host   *lab.Host
	Binary string    // path of lb
	Socket string    // its control socket
	Args   []string  // of lb: agent, or balance
	Logs   io.Writer // where its log goes, each line behind the host's name; nil is nowhere

	process *lab.Process
	log     *lineWriter
}

func (s *Site) newAgent(host *lab.Host) *Daemon {
	return &Daemon{Host: host, Binary: s.options.Binary, Socket: "/run/lb/agent.sock", Args: []string{"agent"}, Logs: s.options.Logs}
}

func (s *Site) newBalancer(host *lab.Host) *Daemon {
	return &Daemon{Host: host, Binary: s.options.Binary, Socket: "/run/lb/balancer.sock", Args: []string{"balance"}, Logs: s.options.Logs}
}

// Start runs the daemon and returns when it answers on its control socket.
func (d *Daemon) Start(ctx context.Context) error {
	d.log = &lineWriter{prefix: d.Host.Name() + " ", to: d.Logs}
	process, err := d.Host.Start(lab.Command{
		Path: d.Binary, Args: d.Args, Env: append(os.Environ(), "LB_CONFIG="+ConfigPath), Stdout: d.log, Stderr: d.log,
	})
	if err != nil {
		return fmt.Errorf("start lb %s on %s: %w", d.Args[0], d.Host.Name(), err)
	}
	d.process = process
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		if conn, err := d.Host.Dial(ctx, "unix", d.Socket); err == nil {
			return conn.Close()
		}
		select {
		case <-process.Done():
			return fmt.Errorf("lb %s on %s ended at once:\n%s", d.Args[0], d.Host.Name(), d.log)
		case <-ctx.Done():
			return fmt.Errorf("lb %s on %s does not answer:\n%s", d.Args[0], d.Host.Name(), d.log)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Signal sends one to the daemon.
func (d *Daemon) Signal(signal syscall.Signal) error { return d.process.Signal(signal) }

// Reload has the daemon read its config again.
func (d *Daemon) Reload() error { return d.Signal(syscall.SIGHUP) }

// Stop ends the daemon as systemd would and waits until it is gone.
func (d *Daemon) Stop() error { return d.end(syscall.SIGTERM) }

// Kill ends the daemon without a word to it and waits until it is gone.
func (d *Daemon) Kill() error { return d.end(syscall.SIGKILL) }

func (d *Daemon) end(signal syscall.Signal) error {
	if err := d.Signal(signal); err != nil {
		return err
	}
	select {
	case <-d.process.Done():
		return nil
	case <-time.After(startTimeout):
		return fmt.Errorf("lb %s on %s did not end at signal %d:\n%s", d.Args[0], d.Host.Name(), signal, d.log)
	}
}

// Log returns what the daemon has printed since it was last started.
func (d *Daemon) Log() string { return d.log.String() }

// Client speaks HTTP to the daemon's control socket.
func (d *Daemon) Client() *http.Client {
	return &http.Client{Timeout: startTimeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.Host.Dial(ctx, "unix", d.Socket)
		},
	}}
}

// lines keeps what is written and passes whole lines on, each behind a prefix.
type lineWriter struct {
	prefix string
	to     io.Writer

	mu      sync.Mutex // protects what follows: stdout and stderr are written by two goroutines
	all     bytes.Buffer
	partial []byte
}

func (l *lineWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all.Write(p)
	if l.to == nil {
		return len(p), nil
	}
	l.partial = append(l.partial, p...)
	for {
		line, rest, found := bytes.Cut(l.partial, []byte("\n"))
		if !found {
			return len(p), nil
		}
		if _, err := fmt.Fprintf(l.to, "%s%s\n", l.prefix, line); err != nil {
			return len(p), err
		}
		l.partial = rest
	}
}

// String returns all that was written.
func (l *lineWriter) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}
