// Package program runs a program in its own process group, with a time limit and bounded output.
package program

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stdinGrace is how long writing stdin may continue after the process group was killed. Only a process that left the
// group can still hold the pipe.
const stdinGrace = 200 * time.Millisecond

// Command is a program to run. No shell is involved unless Argv names one.
type Command struct {
	Argv       []string
	Env        []string // nil inherits lb's own
	Stdin      string
	ContextErr func(error) error // maps the error of a context that ended; nil keeps it
	MaxOutput  int               // bytes captured from each of stdout and stderr, the rest is discarded; 0 means 64 KiB
}

// Result is the outcome of a run.
type Result struct {
	Stdout, Stderr string
	Err            error // nil: exited with status 0
}

// Run runs the program once. It kills the whole process group when ctx ends or the program exits, so no processes stay
// behind.
func (c Command) Run(ctx context.Context) Result {
	if err := ctx.Err(); err != nil {
		return Result{Err: c.contextErr(err)}
	}
	stdout, stderr, err := newOutputs(cmp.Or(c.MaxOutput, defaultMaxOutput))
	if err != nil {
		return Result{Err: err}
	}
	defer stdout.close()
	defer stderr.close()
	cmd := exec.Command(c.Argv[0], c.Argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Env, cmd.Stdout, cmd.Stderr = c.Env, stdout.w, stderr.w
	if c.Stdin != "" {
		cmd.Stdin = strings.NewReader(c.Stdin)
	}
	cmd.WaitDelay = stdinGrace
	if err := cmd.Start(); err != nil {
		return Result{Err: err}
	}
	_ = resetOOMScore(cmd.Process.Pid) // best effort: the program runs either way
	stdout.start()
	stderr.start()
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		waitExit(cmd.Process.Pid)
	}()
	var cancelled error
	select {
	case <-exited:
	case <-ctx.Done():
		cancelled = fmt.Errorf("killed: %w", c.contextErr(ctx.Err()))
	}
	// The first process is not reaped yet, so its PID, which is also the group's, cannot have been reused.
	killErr := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	<-exited
	err = cmd.Wait()
	stdout.drain()
	stderr.drain()
	switch {
	case cancelled != nil && killErr != nil:
		err = errors.Join(cancelled, fmt.Errorf("kill its process group: %w", killErr))
	case cancelled != nil:
		err = cancelled
	case errors.Is(err, exec.ErrWaitDelay):
		err = nil // exited with 0; a process outside the group still holds stdin
	}
	return Result{Stdout: stdout.captured.String(), Stderr: stderr.captured.String(), Err: err}
}

// resetOOMScore removes lb's own protection from the OOM killer, which the child inherits: if memory runs out, the
// child should go first. See /proc/PID/oom_score_adj in proc(5).
func resetOOMScore(pid int) error {
	path := fmt.Sprintf("/proc/%d/oom_score_adj", pid)
	score, err := os.ReadFile(path)
	if err != nil || !bytes.HasPrefix(score, []byte("-")) {
		return err
	}
	return os.WriteFile(path, []byte("0"), 0)
}

func (c Command) contextErr(err error) error {
	if c.ContextErr == nil {
		return err
	}
	return c.ContextErr(err)
}

// waitExit waits until the process has exited and leaves it unreaped.
func waitExit(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// Message is what the program printed, for logs and operators: stderr, or stdout if stderr is empty.
func (r Result) Message() string {
	if text := strings.TrimSpace(r.Stderr); text != "" {
		return text
	}
	return strings.TrimSpace(r.Stdout)
}
