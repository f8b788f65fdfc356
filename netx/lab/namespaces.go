package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Namespaces of a host and of a switch. A host's process namespace is created with its init.
const (
	hostNamespaces   = unix.CLONE_FS | unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWUTS
	switchNamespaces = unix.CLONE_NEWNET
)

// errNoReturn reports a function that left its goroutine without returning, as t.FailNow does.
var errNoReturn = errors.New("the function ended its goroutine instead of returning (t.Fatal inside Do?)")

// namespaces is a set of namespaces and the threads that run in it. Each function runs on a thread that is locked to the set and exits
// with it, so no thread returns to the scheduler in foreign namespaces.
type namespaces struct {
	name string
	fds  []nsFD          // to be entered by new threads, in this order
	rtnl *netlink.Handle // route netlink; its socket stays in these namespaces whichever thread uses it

	jobs    chan job // received by idle threads
	ctx     context.Context
	cancel  context.CancelFunc // stops idle threads, and Dial in progress
	mu      sync.Mutex         // protects closed; also orders workers.Add before workers.Wait
	closed  bool
	workers sync.WaitGroup
}

// nsFD is a file descriptor of a namespace.
type nsFD struct {
	fd   int
	kind int // CLONE_NEW…
}

// job is a function to run and the channel for its result.
type job struct {
	fn   func() error
	done chan error
}

// newNamespaces creates namespaces, runs setup inside, and keeps the thread for later jobs.
func newNamespaces(name string, flags int, setup func(*namespaces) error) (*namespaces, error) {
	ctx, cancel := context.WithCancel(context.Background())
	s := &namespaces{name: name, jobs: make(chan job), ctx: ctx, cancel: cancel}
	first := job{done: make(chan error, 1), fn: func() error {
		if err := s.create(flags); err != nil {
			return err
		}
		return setup(s)
	}}
	s.workers.Add(1)
	onThread(func() { s.work(first) })
	if err := <-first.done; err != nil {
		s.release()
		return nil, err
	}
	return s, nil
}

// onThread runs fn on a thread that runs nothing else and exits after fn. It avoids the process's main thread, which cannot exit and would
// keep a host's namespaces alive as long as the process.
func onThread(fn func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			fn()
			return // locked: the runtime ends the thread
		}
		elsewhere := make(chan struct{})
		onThread(func() { close(elsewhere); fn() })
		<-elsewhere
		runtime.UnlockOSThread()
	}()
}

// create moves the calling thread into new namespaces and opens them.
func (s *namespaces) create(flags int) error {
	if err := unix.Unshare(flags); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	kinds := []struct {
		kind int
		name string
	}{{unix.CLONE_NEWNET, "net"}, {unix.CLONE_NEWUTS, "uts"}, {unix.CLONE_NEWNS, "mnt"}}
	for _, k := range kinds {
		if flags&k.kind == 0 {
			continue
		}
		if err := s.open(k.kind, "/proc/thread-self/ns/"+k.name); err != nil {
			return err
		}
	}
	rtnl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open route netlink: %w", err)
	}
	s.rtnl = rtnl
	return nil
}

// open opens a namespace for later threads.
func (s *namespaces) open(kind int, path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open namespace %s: %w", path, err)
	}
	s.fds = append(s.fds, nsFD{fd, kind})
	return nil
}

// enter moves the calling thread into the namespaces.
func (s *namespaces) enter() error {
	// Threads of a process share root and working directory. Only a thread with its own can enter a mount namespace.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare file system attributes: %w", err)
	}
	for _, n := range s.fds {
		if err := unix.Setns(n.fd, n.kind); err != nil {
			return fmt.Errorf("enter namespace %#x: %w", n.kind, err)
		}
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("change to /: %w", err)
	}
	return nil
}

// do runs fn on a thread of the set and returns its result. It never waits for other functions: if all threads are busy, it starts one.
func (s *namespaces) do(fn func() error) error {
	j := job{fn: fn, done: make(chan error, 1)}
	select {
	case s.jobs <- j:
	default:
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return fmt.Errorf("%s: %w", s.name, ErrClosed)
		}
		s.workers.Add(1)
		s.mu.Unlock()
		onThread(func() {
			if err := s.enter(); err != nil {
				j.done <- fmt.Errorf("%s: %w", s.name, err)
				s.workers.Done()
				return
			}
			s.work(j)
		})
	}
	return <-j.done
}

// work runs jobs on the calling thread until the set is closed.
func (s *namespaces) work(j job) {
	defer s.workers.Done()
	for {
		j.run()
		select {
		case j = <-s.jobs:
		case <-s.ctx.Done():
			return
		}
	}
}

// run sends a result even if the function calls runtime.Goexit, which also ends the thread.
func (j job) run() {
	err := errNoReturn
	defer func() { j.done <- err }()
	err = j.fn()
}

// close waits for running functions, at most until ctx ends, and releases the namespaces.
func (s *namespaces) close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	idle := make(chan struct{})
	go func() { s.workers.Wait(); close(idle) }()
	select {
	case <-idle:
	case <-ctx.Done():
		// The descriptors stay open: their numbers could be reused while a thread still needs them. They end with the process.
		return fmt.Errorf("close %s: a function still runs on it", s.name)
	}
	s.release()
	return nil
}

// release waits for the threads to end and closes all descriptors.
func (s *namespaces) release() {
	s.cancel()
	s.workers.Wait()
	for _, n := range s.fds {
		unix.Close(n.fd)
	}
	if s.rtnl != nil {
		s.rtnl.Close()
	}
	s.fds, s.rtnl = nil, nil
}

// netns returns the network namespace's descriptor.
func (s *namespaces) netns() netlink.NsFd { return netlink.NsFd(s.fds[0].fd) }

// writeSysctl writes a kernel parameter, given in path form (net/ipv4/ip_forward), from a thread of the set.
func writeSysctl(key, value string) error {
	if err := os.WriteFile("/proc/sys/"+key, []byte(value), 0); err != nil {
		return fmt.Errorf("set %s to %s: %w", key, value, err)
	}
	return nil
}
