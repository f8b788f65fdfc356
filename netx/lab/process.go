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

// outputDelay is how long after a process's end its output is awaited, when children of its own keep the pipe open.
const outputGrace = time.Second

// Command is a program to run on a host.
type Command struct {
	Path   string   // of the program, or a name to be looked up in $PATH
	Args   []string // without the program's name
	Name   string   // the program's name as it sees it (argv[0]); "" is Path
	Env    []string // nil is this process's environment
	Dir    string   // "" is /
	Stdin  io.Reader
	Stdout io.Writer // written from another goroutine; nil discards
	Stderr io.Writer
}

// Process is a program that was started on a host, in a process group of its own.
type Process struct {
	host *Host
	cmd  *exec.Cmd
	done chan struct{}
	err  error // valid when done is closed
}

// Start starts a program on the host. It ends with the lab, or with this process, at the latest.
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
			p.err = nil // it ended well; something it left behind holds its output open
		}
		close(p.done)
	}()
	return p, nil
}

// Pid returns the process's number as this process sees it; on its host it has another.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended and its output was written.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the process's end. The error is nil for exit status 0, else as of exec.Cmd.Wait.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// ExitCode waits for the process's end and returns its exit status, −1 when a signal ended it.
func (p *Process) ExitCode() int {
	<-p.done
	return p.cmd.ProcessState.ExitCode()
}

// Signal sends a signal to the process alone; os.ErrProcessDone when it has ended.
func (p *Process) Signal(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("%s: send %s to %s: %w", p.host.name, sig, p.cmd.Path, err)
	}
	return nil
}

// Kill ends the process and all of its group by SIGKILL, and waits. No error when it has ended already.
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

// Stop asks the process to end by SIGTERM and waits; when ctx ends first it kills the process and says so.
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
		return errors.Join(fmt.Errorf("%s: %s did not end after SIGTERM: %w", p.host.name, p.cmd.Path, ctx.Err()), p.Kill())
	}
}

// Run runs a program on the host and returns its standard output. The error of a program that fails has its standard error too.
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
