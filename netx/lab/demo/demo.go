// Package demo plays the talk live: real requests, a real kernel table, real daemons, and claims that are checked.
package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/lab/testbed"
)

const (
	requestRate   = 25                     // requests a second
	checkInterval = time.Second            // between two of the balancer's polls of a node
	rampUp        = 10 * time.Second       // of a node that is new or back
	frameInterval = 250 * time.Millisecond // between two looks at the kernel's table
)

// Options says how the demo is shown.
type Options struct {
	Binary string          // path of lb, which plays all the daemons
	Out    io.Writer       // where the show goes
	Width  func() int      // of the terminal, whose table is redrawn in place; nil prints plain lines
	Keys   <-chan struct{} // each goes on to the next scene; nil goes by the clock
	Logs   io.Writer       // the daemons' logs; nil is nowhere
}

// Keys gives one signal for every line read, and goes on without asking when there is nothing more to read. The
// reading ends with in or with the process: a read from a terminal cannot be called back.
func Keys(in io.Reader) <-chan struct{} {
	keys := make(chan struct{})
	go func() {
		defer close(keys)
		for lines := bufio.NewScanner(in); lines.Scan(); {
			keys <- struct{}{}
		}
	}()
	return keys
}

// ErrClaims says that the demo ran but did not hold what it promises.
var ErrClaimFailed = errors.New("the demo did not hold what it claims")

// Run plays the demo. It returns netx.ErrNoIPVS or netx.ErrNoPrivilege where it cannot be played, and ErrClaims when a
// claim did not hold. It leaves nothing behind.
func Run(ctx context.Context, o Options) (err error) {
	if err := checkKernel(); err != nil {
		return err
	}
	s := newScreen(o.Out, o.Width)
	s.line("Building the hosts: client, load01, app01 to app04 …")
	site, err := testbed.New(ctx, slog.New(slog.DiscardHandler), testbed.Options{
		Binary: o.Binary, Nodes: 3, Spare: 1, Scheduler: "wrr", RampUp: rampUp, CheckInterval: checkInterval, Logs: o.Logs,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.Close()) }()
	p := &runner{site: site, screen: s, keys: o.Keys}
	if err := site.BalancerHost.Do(func() (err error) { p.table, err = ipvs.NewKernel(); return err }); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.table.Close()) }()
	return p.run(ctx)
}

// probe finds out whether the demo can be played here, before anything is built.
func checkKernel() error {
	table, err := ipvs.NewKernel()
	if err != nil {
		return err
	}
	return table.Close()
}

// play is the demo under way.
type runner struct {
	site    *testbed.Site
	screen  *screen
	keys    <-chan struct{}
	table   ipvs.Table
	traffic *testbed.Traffic

	start   time.Time
	recent  []sample // of the last seconds, for the share of requests
	last    snapshot
	claims  []claim
	weights map[string][]int // of each node since the scene began
}

// claim is one promise of the demo and whether it held.
type claim struct {
	text    string
	held    bool
	figures string // the figures
}

func (p *runner) check(held bool, text, seen string, values ...any) {
	p.claims = append(p.claims, claim{text: text, held: held, figures: fmt.Sprintf(seen, values...)})
}

func (p *runner) run(ctx context.Context) error {
	for n, health := range []int{45, 30, 75} {
		if err := p.site.Apps[n].SetHealth(health); err != nil {
			return err
		}
	}
	if err := p.site.Balancer.Start(ctx); err != nil {
		return err
	}
	if err := p.waitForRotation(ctx); err != nil {
		return err
	}
	p.start = time.Now()
	p.traffic = p.site.StartTraffic(ctx, requestRate)
	err := p.playScenes(ctx)
	counts := p.traffic.Stop()
	if ctx.Err() != nil {
		return errors.New("the demo was interrupted; nothing of it is left behind")
	}
	if err != nil {
		return err
	}
	seen := fmt.Sprintf("%d answered, %d lost, slowest %s", counts.Answered, counts.Failed, counts.Slowest.Round(time.Millisecond))
	if counts.LastError != nil {
		seen += ": " + counts.LastError.Error()
	}
	p.check(counts.Failed == 0, "no request was lost in all that", "%s", seen)
	return p.verdict()
}

// rotation waits until the balancer has put every node into the kernel's table: before that, nobody serves the VIP.
func (p *runner) waitForRotation(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, waitTimeout)
	defer cancel()
	for {
		services, err := p.table.Dump(ctx)
		if err != nil {
			return err
		}
		ready := 0
		for _, s := range services {
			for _, d := range s.Destinations {
				ready += min(int(d.Weight), 1)
			}
		}
		if ready == len(p.site.ConfiguredApps()) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("only %d of %d nodes came into rotation:\n%s", ready, len(p.site.ConfiguredApps()), p.site.Balancer.Log())
		case <-time.After(frameInterval):
		}
	}
}

// scenes plays them in the talk's order and stops at the first that cannot be played.
func (p *runner) playScenes(ctx context.Context) error {
	for n, scene := range scenes() {
		p.screen.scene(fmt.Sprintf("%d. %s", n+1, scene.title), scene.intro)
		p.weights = map[string][]int{}
		if err := scene.play(ctx, p); err != nil {
			return fmt.Errorf("scene %q: %w", scene.title, err)
		}
		p.screen.table(p.last)
		if err := p.pause(ctx); err != nil {
			return err
		}
	}
	return nil
}

// pause goes on watching until a key is pressed, when the demo goes by key.
func (p *runner) pause(ctx context.Context) error {
	if p.keys == nil {
		return nil
	}
	p.screen.note("press Enter to go on")
	return p.watch(ctx, time.Hour, func(snapshot) bool {
		select {
		case <-p.keys:
			return true
		default:
			return false
		}
	})
}

// verdict prints each claim with its figures.
func (p *runner) verdict() error {
	p.screen.line("")
	p.screen.line("What was claimed, and what was seen:")
	var err error
	for _, c := range p.claims {
		word := "held"
		if !c.held {
			word, err = "BROKEN", ErrClaimFailed
		}
		p.screen.line(fmt.Sprintf("  %-6s  %s (%s)", word, c.text, c.figures))
	}
	return err
}
