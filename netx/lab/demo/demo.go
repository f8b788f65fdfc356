// Package demo plays the talk live, with real requests, a real kernel and real daemons, and checks what it claims.
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
	requestRate   = 25                     // per second
	checkInterval = time.Second            // check_interval of the cluster
	rampUp        = 10 * time.Second       // ramp_up_time of the cluster
	frameInterval = 250 * time.Millisecond // between two reads of the kernel's table
)

// Options configures the demo.
type Options struct {
	Binary string          // path of lb
	Out    io.Writer       // receives the demo's output
	Width  func() int      // of the terminal, in characters, to redraw the table in place; nil prints plain lines
	Keys   <-chan struct{} // each value continues to the next scene; nil continues automatically
	Logs   io.Writer       // receives the daemons' logs; nil discards
}

// Keys sends a value for every line read, and closes the channel at the end of input. Its goroutine ends with the input or with the
// process: a read from a terminal cannot be interrupted.
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

// errClaimFailed reports a demo that ran to its end with a claim that did not hold.
var errClaimFailed = errors.New("the demo ran, but not all of its claims held: see BROKEN above")

// Run plays the demo and removes everything it built. It returns netx.ErrNoIPVS or netx.ErrNoPrivilege where it cannot run, and
// an error if a claim did not hold.
func Run(ctx context.Context, o Options) (err error) {
	if err := checkKernel(); err != nil {
		return err
	}
	s := newScreen(o.Out, o.Width)
	s.line("Building the network: a client, load01, and app01 to app04 …")
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

// checkKernel reports whether the demo can run here, before it builds anything.
func checkKernel() error {
	table, err := ipvs.NewKernel()
	if err != nil {
		return err
	}
	return table.Close()
}

// runner is a running demo.
type runner struct {
	site    *testbed.Site
	screen  *screen
	keys    <-chan struct{}
	table   ipvs.Table
	traffic *testbed.Traffic

	start   time.Time
	recent  []sample // within shareWindow, for the shares of requests
	last    snapshot
	claims  []claim
	weights map[string][]int // seen since the scene began, by node
}

// claim is a promise of the demo and whether it held.
type claim struct {
	text    string
	held    bool
	figures string
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
		return errors.New("the demo was interrupted and has cleaned up")
	}
	if err != nil {
		return err
	}
	seen := fmt.Sprintf("%d answered, %d lost, slowest %s", counts.Answered, counts.Failed, counts.Slowest.Round(time.Millisecond))
	if counts.LastError != nil {
		seen += ": " + counts.LastError.Error()
	}
	p.check(counts.Failed == 0, "no request was lost in the whole demo", "%s", seen)
	return p.verdict()
}

// waitForRotation waits until every node has weight in the kernel. Before that, requests to the VIP fail.
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
			return fmt.Errorf("only %d of %d nodes are in rotation:\n%s", ready, len(p.site.ConfiguredApps()), p.site.Balancer.Log())
		case <-time.After(frameInterval):
		}
	}
}

// playScenes plays the scenes in order and stops at the first that fails.
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

// pause keeps the display running until a key is pressed, if the demo is stepped by key.
func (p *runner) pause(ctx context.Context) error {
	if p.keys == nil {
		return nil
	}
	p.screen.note("press Enter to continue")
	return p.watch(ctx, time.Hour, func(snapshot) bool {
		select {
		case <-p.keys:
			return true
		default:
			return false
		}
	})
}

// verdict prints each claim with its result and figures.
func (p *runner) verdict() error {
	p.screen.line("")
	p.screen.line("What we claimed, and what happened:")
	var err error
	for _, c := range p.claims {
		word := "held"
		if !c.held {
			word, err = "BROKEN", errClaimFailed
		}
		p.screen.line(fmt.Sprintf("  %-6s  %s (%s)", word, c.text, c.figures))
	}
	return err
}
