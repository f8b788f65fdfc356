package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/oneline"
)

const (
	maxOutput = 64 << 10 // bytes kept of each of stdout and stderr; the rest is read and dropped
	// pipeGrace is how long output is waited for once the command's process group is dead: whatever still holds the pipe
	// then has left the group.
	pipeGrace = 200 * time.Millisecond
)

// command is a program to run: a line for /bin/sh -c, or a program with its arguments.
type command struct {
	argv []string
	show string // as written in the configuration
}

// decodeCommand reads the options command (a line for the shell) or argv (a program and its arguments, run directly).
func decodeCommand(o config.Section) command {
	line, argv := o.String("command", ""), o.Strings("argv")
	switch {
	case o.Has("command") && o.Has("argv"):
		o.Mistake("argv", "stands beside command", "keep one of them: command for a line of shell, argv for a program and its arguments")
	case o.Has("argv") && (len(argv) == 0 || argv[0] == ""):
		o.Mistake("argv", "names no program", `give a list such as ["/usr/local/bin/check", "--fast"]`)
	case !o.Has("argv") && strings.TrimSpace(line) == "":
		o.Mistake("command", "is missing", `give a line of shell such as "test -e /run/ready", or argv = ["/usr/local/bin/check", "--fast"]`)
	}
	for _, s := range append(argv, line) {
		if strings.ContainsRune(s, 0) {
			o.Mistake("command", "holds a NUL character", "take it out")
		}
	}
	if len(argv) > 0 {
		return command{argv: argv, show: oneline.Clean(strings.Join(argv, " "), maxDetail)}
	}
	return command{argv: []string{"/bin/sh", "-c", line}, show: oneline.Clean(line, maxDetail)}
}

// outcome is how a command ended.
type outcome struct {
	stdout, stderr string
	err            error // nil: it ended by itself with exit status 0
}

// run runs the command once, in a process group of its own that is killed whole when ctx ends or the command does: a
// check leaves no processes behind.
func (c command) run(ctx context.Context, timeout time.Duration) outcome {
	var stdout, stderr bounded
	cmd := exec.Command(c.argv[0], c.argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = pipeGrace
	if err := ctx.Err(); err != nil {
		return outcome{err: reason(ctx, err, timeout)}
	}
	if err := cmd.Start(); err != nil {
		return outcome{err: err}
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		awaitExit(cmd.Process.Pid)
	}()
	var ended error
	select {
	case <-exited:
	case <-ctx.Done():
		ended = fmt.Errorf("killed: %w", reason(ctx, ctx.Err(), timeout))
	}
	// The first process is not reaped yet, so its number, which is the group's, cannot belong to anybody else.
	killErr := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	<-exited
	err := cmd.Wait()
	switch {
	case ended != nil && killErr != nil:
		err = errors.Join(ended, fmt.Errorf("kill its process group: %w", killErr))
	case ended != nil:
		err = ended
	case errors.Is(err, exec.ErrWaitDelay):
		err = nil // it ended well; somebody outside its group still holds its output
	}
	return outcome{stdout: stdout.String(), stderr: stderr.String(), err: err}
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

// detail is what a command said, for the log and the operator: the end of stderr, or of stdout when that is empty.
func (o outcome) detail() string {
	said := strings.TrimSpace(o.stderr)
	if said == "" {
		said = strings.TrimSpace(o.stdout)
	}
	if said == "" {
		return "it printed nothing"
	}
	if over := len(said) - maxDetail/2; over > 0 {
		said = "…" + strings.ToValidUTF8(said[over:], "")
	}
	return "it printed " + said
}

// bounded keeps the first maxOutput bytes written to it and takes the rest without complaint.
type bounded struct {
	buf bytes.Buffer
}

func (b *bounded) Write(p []byte) (int, error) {
	room := maxOutput - b.buf.Len()
	b.buf.Write(p[:min(len(p), room)])
	return len(p), nil
}

func (b *bounded) String() string { return b.buf.String() }
