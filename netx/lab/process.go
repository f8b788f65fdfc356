package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// outputGrace is how long after a process's exit its output is read if its children keep the pipe open.
const outputGrace = time.Second

// Command describes a program to run on a host.
type Command struct {
	Path   string   // path, or a name to look up in $PATH
	Args   []string // without argv[0]
	Name   string   // argv[0]; "" is Path
	Env    []string // nil is this process's environment
	Dir    string   // "" is /
	Stdin  io.Reader
	Stdout io.Writer // written by another goroutine; nil discards
	Stderr io.Writer
}

// Process is a program started on a host, in its own process group.
type Process struct {
	host *Host
	cmd  *exec.Cmd
	done chan struct{}
	err  error // valid once done is closed
}

// Start starts a program on the host. It ends at the latest with the lab or with this process.
func (h *Host) Start(c Command) (*Process, error) {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil, fmt.Errorf("%s: start %s: %w", h.name, c.Path, ErrClosed)
	}
	h.processes.Add(1)
	h.mu.Unlock()
	p := &Process{host: h, done: make(chan struct{})}
	err := h.Do(func() error {
		p.cmd = exec.Command(c.Path, c.Args...)
		if c.Name != "" {
			p.cmd.Args[0] = c.Name
		}
		p.cmd.Env, p.cmd.Dir = c.Env, c.Dir
		p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = c.Stdin, c.Stdout, c.Stderr
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		p.cmd.WaitDelay = outputGrace
		return p.cmd.Start()
	})
	if err != nil {
		h.processes.Done()
		return nil, fmt.Errorf("%s: start %s: %w", h.name, c.Path, err)
	}
	h.log.Debug("process started", "host", h.name, "path", c.Path, "pid", p.cmd.Process.Pid)
	go func() {
		defer h.processes.Done()
		p.err = p.cmd.Wait()
		if errors.Is(p.err, exec.ErrWaitDelay) {
			p.err = nil // exit status 0, but a child holds its output open
		}
		close(p.done)
	}()
	return p, nil
}

// Pid returns the process ID as this process sees it. Inside the host it has another.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the process has exited and its output has been written.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the process to exit. The error is nil for exit status 0, otherwise as from exec.Cmd.Wait.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// ExitCode waits for the process to exit and returns its exit status, -1 if a signal ended it.
func (p *Process) ExitCode() int {
	<-p.done
	return p.cmd.ProcessState.ExitCode()
}

// Signal sends a signal to the process alone. It returns os.ErrProcessDone if the process has exited.
func (p *Process) Signal(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("%s: send %s to %s: %w", p.host.name, sig, p.cmd.Path, err)
	}
	return nil
}

// Kill sends SIGKILL to the process's group and waits. It is no error if the process has already exited.
func (p *Process) Kill() error {
	select {
	case <-p.done:
		return nil
	default:
	}
	if err := unix.Kill(-p.Pid(), unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("%s: kill %s: %w", p.host.name, p.cmd.Path, err)
	}
	<-p.done
	return nil
}

// Stop sends SIGTERM and waits. If ctx ends first, it kills the process and returns an error.
func (p *Process) Stop(ctx context.Context) error {
	if err := p.Signal(unix.SIGTERM); err != nil {
		if errors.Is(err, os.ErrProcessDone) {
			<-p.done
			return nil
		}
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("%s: %s did not exit after SIGTERM: %w", p.host.name, p.cmd.Path, ctx.Err()), p.Kill())
	}
}

// Run runs a program on the host and returns its standard output. If the program fails, the error includes its standard error.
func (h *Host) Run(ctx context.Context, name string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	p, err := h.Start(Command{Path: name, Args: args, Stdout: &stdout, Stderr: &stderr})
	if err != nil {
		return "", err
	}
	select {
	case <-p.done:
		err = p.err
	case <-ctx.Done():
		err = errors.Join(ctx.Err(), p.Kill())
	}
	if err != nil {
		line := strings.Join(append([]string{name}, args...), " ")
		return stdout.String(), fmt.Errorf("%s: %s: %w: %s", h.name, line, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}
