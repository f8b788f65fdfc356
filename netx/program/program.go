// Package program runs a program in a process group of its own, for a bounded time and with a bounded output.
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

// stdinGrace is how long the rest of the input may take once the program's process group is dead: whatever still holds the pipe then has
// left the group.
const stdinGrace = 200 * time.Millisecond

// Program is what to run. No shell is in between, unless it is the program.
type Command struct {
	Argv       []string
	Env        []string // nil is that of lb
	Stdin      string
	ContextErr func(error) error // words the end of the context; nil leaves it as it is
	MaxOutput  int               // bytes kept of each of stdout and stderr, the rest is read and dropped; 0 is 64 KiB
}

// Outcome is how it ended.
type Result struct {
	Stdout, Stderr string
	Err            error // nil: it ended by itself with exit status 0
}

// Run runs the program once. Its process group is killed whole when ctx ends or the program does: it leaves no processes behind.
func (p Command) Run(ctx context.Context) Result {
	if err := ctx.Err(); err != nil {
		return Result{Err: p.ended(err)}
	}
	stdout, stderr, err := newOutputs(cmp.Or(p.MaxOutput, maxOutput))
	if err != nil {
		return Result{Err: err}
	}
	defer stdout.close()
	defer stderr.close()
	cmd := exec.Command(p.Argv[0], p.Argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Env, cmd.Stdout, cmd.Stderr = p.Env, stdout.w, stderr.w
	if p.Stdin != "" {
		cmd.Stdin = strings.NewReader(p.Stdin)
	}
	cmd.WaitDelay = stdinGrace
	if err := cmd.Start(); err != nil {
		return Result{Err: err}
	}
	_ = expose(cmd.Process.Pid) // the program runs all the same
	stdout.begin()
	stderr.begin()
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		awaitExit(cmd.Process.Pid)
	}()
	var ended error
	select {
	case <-exited:
	case <-ctx.Done():
		ended = fmt.Errorf("killed: %w", p.ended(ctx.Err()))
	}
	// The first process is not reaped yet, so its number, which is the group's, cannot belong to anybody else.
	killErr := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	<-exited
	err = cmd.Wait()
	stdout.finish()
	stderr.finish()
	switch {
	case ended != nil && killErr != nil:
		err = errors.Join(ended, fmt.Errorf("kill its process group: %w", killErr))
	case ended != nil:
		err = ended
	case errors.Is(err, exec.ErrWaitDelay):
		err = nil // it ended well; somebody outside its group still holds its input
	}
	return Result{Stdout: stdout.kept.String(), Stderr: stderr.kept.String(), Err: err}
}

// expose takes the protection from a process that lb itself may have against the kernel's killer when memory runs out, see
// /proc/PID/oom_score_adj in proc(5): of the two, the program is to go.
func expose(pid int) error {
	path := fmt.Sprintf("/proc/%d/oom_score_adj", pid)
	score, err := os.ReadFile(path)
	if err != nil || !bytes.HasPrefix(score, []byte("-")) {
		return err
	}
	return os.WriteFile(path, []byte("0"), 0)
}

func (p Command) ended(err error) error {
	if p.ContextErr == nil {
		return err
	}
	return p.ContextErr(err)
}

// awaitExit waits until the process has ended, and leaves it to be reaped.
func awaitExit(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// Said is what a program said, for the log and the operator: stderr, or stdout when that is empty.
func (o Result) Message() string {
	if said := strings.TrimSpace(o.Stderr); said != "" {
		return said
	}
	return strings.TrimSpace(o.Stdout)
}
