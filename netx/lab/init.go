package lab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"syscall"
)

// initScript is a host's process number 1. It mounts the /proc of the host's own processes, then lives until its standard input ends,
// which happens when the lab closes it or the builder dies. When it ends, the kernel kills every process of the host.
// Ignoring SIGCHLD has the kernel clear up processes whose parents died; `cat` inherits that.
const initScript = `mount -t proc -o nosuid,nodev,noexec proc /proc && trap "" CHLD && echo ready && exec cat >/dev/null`

// initProcess is the ancestor of all processes of a host.
//
// PR_SET_PDEATHSIG on each process would not do instead: it does not reach what those processes start, and Go's check for an
// already dead parent takes any process in another process namespace for an orphan.
type initProcess struct {
	cmd   *exec.Cmd
	stdin io.Closer // the writing end of its standard input
	done  chan struct{}
}

// startInit starts the init in a new process namespace, from a thread that is in the host's other namespaces.
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
		_ = cmd.Wait() // killed, always
		close(p.done)
	}()
	if readErr != nil {
		_ = p.stop(context.Background())
		return nil, fmt.Errorf("start the host's init: %w: %s", readErr, bytes.TrimSpace(stderr.Bytes()))
	}
	return p, nil
}

// stop kills the init and with it every process of the host, and waits until all are gone.
func (p *initProcess) stop(ctx context.Context) error {
	p.stdin.Close()
	_ = p.cmd.Process.Kill() // fails only when it is gone already
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for its processes to die: %w (a process started inside Do that nobody waits for?)", ctx.Err())
	}
}
