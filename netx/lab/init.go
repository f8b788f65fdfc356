package lab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"syscall"
)

// initScript is process 1 of a host. It mounts /proc for the host's process namespace and runs until its standard input is closed, by the
// lab or by the builder's death. When it exits, the kernel kills every process of the host. With SIGCHLD ignored, which cat inherits, the
// kernel reaps orphans.
const initScript = `mount -t proc -o nosuid,nodev,noexec proc /proc && trap "" CHLD && echo ready && exec cat >/dev/null`

// initProcess is the ancestor of all processes of a host.
//
// PR_SET_PDEATHSIG on each process is no substitute: it does not apply to their children, and Go's check for a parent that is already dead
// takes any process in another process namespace for an orphan.
type initProcess struct {
	cmd   *exec.Cmd
	stdin io.Closer // closing it ends the process
	done  chan struct{}
}

// startInit starts the init in a new process namespace. The calling thread must be in the host's other namespaces.
func startInit() (*initProcess, error) {
	cmd := exec.Command("/bin/sh", "-c", initScript)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Setsid: true}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start the host's init: %w", err)
	}
	ready, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start the host's init: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the host's init: %w", err)
	}
	_, readErr := io.ReadFull(ready, make([]byte, len("ready\n")))
	p := &initProcess{cmd: cmd, stdin: stdin, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // always killed
		close(p.done)
	}()
	if readErr != nil {
		_ = p.stop(context.Background())
		return nil, fmt.Errorf("start the host's init: %w: %s", readErr, bytes.TrimSpace(stderr.Bytes()))
	}
	return p, nil
}

// stop kills the init, and so every process of the host, and waits until all are gone.
func (p *initProcess) stop(ctx context.Context) error {
	p.stdin.Close()
	_ = p.cmd.Process.Kill() // fails only if already gone
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for its processes to end: %w (was a process started inside Do and never waited for?)", ctx.Err())
	}
}
