package machine

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"reflect"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	vishvananda "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// slowLook is the time between two reads while the kernel reports nothing. Routes and neighbours are read
	// then: their notifications may come by the thousand.
	slowLook = 10 * time.Second
	// nobodyLook is that time while no neighbour answers for an address, and askingLook while they are asked for the first time.
	nobodyLook = 2 * time.Second
	askingLook = 500 * time.Millisecond
	// minGap is the least time between two reads, however many notifications arrive.
	minGap = 100 * time.Millisecond
	// settle is how long a burst of notifications may grow before the read.
	settle = 5 * time.Millisecond
)

// Watcher reads the state whenever the kernel reports a change, and slowly besides.
type Watcher struct {
	reader *reader
	news   *netlink.Conn
	log    *slog.Logger
	states chan *State
	wake   chan struct{} // has room for one

	mu      sync.Mutex // protects targets
	targets []Target
}

// NewWatcher opens a watcher of the network namespace of the calling thread. Run has to follow; it closes the watcher.
func NewWatcher(log *slog.Logger) (*Watcher, error) {
	r, err := openReader()
	if err != nil {
		return nil, err
	}
	news, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err == nil {
		for _, group := range []uint32{
			unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_IPV6_NETCONF,
		} {
			err = errors.Join(err, news.JoinGroup(group))
		}
	}
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	return &Watcher{reader: r, news: news, log: log, states: make(chan *State), wake: make(chan struct{}, 1)}, nil
}

// States delivers each state that differs from the one before.
func (w *Watcher) States() <-chan *State { return w.states }

// Follow sets the addresses whose places are of interest.
func (w *Watcher) Follow(targets []Target) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.targets = targets
	w.notify()
}

func (w *Watcher) notify() {
	select {
	case w.wake <- struct{}{}:
	default: // a read is due already
	}
}

// Run reads and delivers states until ctx ends.
func (w *Watcher) Run(ctx context.Context) {
	var listening sync.WaitGroup
	listening.Go(w.listen)
	defer func() {
		if err := errors.Join(w.news.Close(), w.reader.close()); err != nil {
			w.log.Warn("close the netlink sockets", "err", err)
		}
		listening.Wait()
	}()
	last, failed := &State{}, ""
	for {
		s, err := w.look(last)
		switch {
		case err == nil:
			failed = ""
		case errors.Is(err, vishvananda.ErrDumpInterrupted):
			w.notify() // it changed meanwhile
		case err.Error() != failed:
			failed = err.Error()
			w.log.Warn("cannot read the state of this machine's network; lb tries again", "err", err)
		}
		if err == nil && (last.Places == nil || !reflect.DeepEqual(s, last)) {
			last = s
			select {
			case w.states <- s:
			case <-ctx.Done():
				return
			}
		}
		if !w.pause(ctx, last) {
			return
		}
	}
}

// look reads the state.
func (w *Watcher) look(last *State) (*State, error) {
	w.mu.Lock()
	targets := w.targets
	w.mu.Unlock()
	return w.reader.read(targets, last)
}

// pause waits until a read is due, and reports whether ctx goes on.
func (w *Watcher) pause(ctx context.Context, last *State) bool {
	began := time.Now()
	wait := slowLook
	for _, p := range last.Places {
		switch p.Elsewhere {
		case Asking:
			wait = min(wait, askingLook)
		case Nobody:
			wait = min(wait, nobodyLook)
		}
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	case <-w.wake:
	}
	timer.Reset(max(settle, minGap-time.Since(began)))
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	}
	select {
	case <-w.wake: // the read that follows shows that, too
	default:
	}
	return true
}

// listen wakes Run for every notification until the socket is closed. What the kernel could not deliver, for the socket's buffer was
// full, is a notification as well: each read is complete.
func (w *Watcher) listen() {
	for {
		_, err := w.news.Receive()
		switch {
		case err == nil, errors.Is(err, unix.ENOBUFS):
			w.notify()
		case errors.Is(err, os.ErrClosed), errors.Is(err, unix.EBADF):
			return
		default:
			w.log.Warn("the kernel's notifications about the network have ended; lb looks every "+slowLook.String(), "err", err)
			return
		}
	}
}

// Read reads the state of the calling thread's network namespace once. It asks no neighbours.
func Read() (*State, error) {
	r, err := openReader()
	if err != nil {
		return nil, err
	}
	s, err := r.read(nil, &State{})
	return s, errors.Join(err, r.close())
}
