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

// startTimeout limits how long a daemon may take to start or stop; an emulated guest is slow.
const startTimeout = 60 * time.Second

// Daemon is an lb process on a host. It can be stopped and started again.
type Daemon struct {
	Host   *lab.Host
	Binary string    // path of lb
	Socket string    // path of its control socket
	Args   []string  // arguments of lb: agent or balance
	Logs   io.Writer // receives its log, each line prefixed with the host's name; nil discards

	process *lab.Process
	log     *lineWriter
}

func (s *Site) newAgent(host *lab.Host) *Daemon {
	return &Daemon{Host: host, Binary: s.options.Binary, Socket: "/run/lb/agent.sock", Args: []string{"agent"}, Logs: s.options.Logs}
}

func (s *Site) newBalancer(host *lab.Host) *Daemon {
	return &Daemon{Host: host, Binary: s.options.Binary, Socket: "/run/lb/balancer.sock", Args: []string{"balance"}, Logs: s.options.Logs}
}

// Start starts the daemon and waits until its control socket accepts connections.
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
			return fmt.Errorf("lb %s on %s exited during its start:\n%s", d.Args[0], d.Host.Name(), d.log)
		case <-ctx.Done():
			return fmt.Errorf("lb %s on %s does not accept connections:\n%s", d.Args[0], d.Host.Name(), d.log)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Signal sends a signal to the daemon.
func (d *Daemon) Signal(signal syscall.Signal) error { return d.process.Signal(signal) }

// Reload makes the daemon read its configuration again.
func (d *Daemon) Reload() error { return d.Signal(syscall.SIGHUP) }

// Stop stops the daemon with SIGTERM, as systemd would, and waits for its exit.
func (d *Daemon) Stop() error { return d.end(syscall.SIGTERM) }

// Kill kills the daemon with SIGKILL and waits for its exit.
func (d *Daemon) Kill() error { return d.end(syscall.SIGKILL) }

func (d *Daemon) end(signal syscall.Signal) error {
	if err := d.Signal(signal); err != nil {
		return err
	}
	select {
	case <-d.process.Done():
		return nil
	case <-time.After(startTimeout):
		return fmt.Errorf("lb %s on %s did not exit after signal %d:\n%s", d.Args[0], d.Host.Name(), signal, d.log)
	}
}

// Log returns the daemon's output since its last start.
func (d *Daemon) Log() string { return d.log.String() }

// Client returns an HTTP client for the daemon's control socket.
func (d *Daemon) Client() *http.Client {
	return &http.Client{Timeout: startTimeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.Host.Dial(ctx, "unix", d.Socket)
		},
	}}
}

// lineWriter keeps everything written and passes on whole lines, each with a prefix.
type lineWriter struct {
	prefix string
	to     io.Writer

	mu      sync.Mutex // protects the fields below: two goroutines write stdout and stderr
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

// String returns everything written so far.
func (l *lineWriter) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}
