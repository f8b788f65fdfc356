package demo

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"
)

// waitTimeout limits each wait for an event; an emulated guest is slow.
const waitTimeout = 45 * time.Second

// scene is one part of the demo.
type scene struct {
	title string
	intro string
	play  func(ctx context.Context, p *runner) error
}

// scenes returns the scenes in the talk's order.
func scenes() []scene {
	return []scene{
		{"Balance by health", "Each node reports its health, and gets its share of the requests accordingly.", balanceByHealth},
		{"A new kid on the block", "app04 joins with health 100. It ramps up, so that it is not overrun.", newKid},
		{"Maintenance", `On app02: lb ctl force down webapp -r "apt upgrades"`, maintenance},
		{"A heartbeat fails", "app03's application returns 500 and gets no more requests.", heartbeatFails},
		{"The balancer dies", "kill -9 of lb balance: the kernel keeps balancing, and a restart changes nothing.", balancerDies},
	}
}

func balanceByHealth(ctx context.Context, p *runner) error {
	if err := p.watch(ctx, waitTimeout, func(v snapshot) bool {
		return v.weight("app01") == 45 && v.weight("app02") == 30 && v.weight("app03") == 75
	}); err != nil {
		return fmt.Errorf("weights 45, 30 and 75: %w", err)
	}
	before := p.traffic.Counts()
	if err := p.watch(ctx, 10*time.Second, nil); err != nil {
		return err
	}
	served := p.traffic.Counts().Since(before)
	worst, seen := 0.0, []string{}
	for _, n := range p.last.nodes {
		share := 100 * float64(served.ByNode[n.name]) / float64(max(served.Answered, 1))
		want := 100 * float64(n.weight) / float64(max(p.last.totalWeight(), 1))
		worst = max(worst, math.Abs(share-want))
		seen = append(seen, fmt.Sprintf("%s %.0f %% for weight %d", n.name, share, n.weight))
	}
	p.check(worst <= 3, "each node's share of the requests matches its share of the weight", "%s", strings.Join(seen, ", "))
	return nil
}

func newKid(ctx context.Context, p *runner) error {
	if err := p.site.AddSpareNode(ctx); err != nil {
		return err
	}
	if err := p.watch(ctx, waitTimeout, func(v snapshot) bool { return v.weight("app04") > 0 }); err != nil {
		return fmt.Errorf("app04 in rotation: %w", err)
	}
	joined := p.last.at
	p.milestone("app04 is in rotation, with almost no weight")
	if err := p.watch(ctx, waitTimeout, func(v snapshot) bool { return v.weight("app04") >= 50 }); err != nil {
		return fmt.Errorf("app04 at weight 50: %w", err)
	}
	p.milestone("app04 is halfway up")
	if err := p.watch(ctx, waitTimeout, func(v snapshot) bool { return v.weight("app04") == 100 }); err != nil {
		return fmt.Errorf("app04 at weight 100: %w", err)
	}
	took := p.last.at.Sub(joined)
	p.milestone("app04 has its full weight")
	seen := slices.DeleteFunc(slices.Clone(p.weights["app04"]), func(w int) bool { return w <= 0 })
	rises := slices.IsSorted(seen)
	seen = slices.Compact(seen)
	p.check(rises && seen[0] <= 20, "app04 starts low and its weight never drops",
		"from %d to %d in %d steps", seen[0], seen[len(seen)-1], len(seen))
	late := took - rampUp
	p.check(late.Abs() <= 2*checkInterval+time.Second, "app04 reaches its full weight on time",
		"after %.1f s, with a ramp-up of %.0f s", took.Seconds(), rampUp.Seconds())
	return p.watch(ctx, 4*time.Second, nil)
}

func maintenance(ctx context.Context, p *runner) error {
	app := p.site.Apps[1]
	start := time.Now()
	if _, err := p.site.RunLB(ctx, app.Host, "ctl", "force", "down", "webapp", "-r", "apt upgrades"); err != nil {
		return err
	}
	if err := p.watch(ctx, waitTimeout, func(v snapshot) bool { return v.weight("app02") == 0 }); err != nil {
		return fmt.Errorf("app02 at weight 0: %w", err)
	}
	took := p.last.at.Sub(start)
	p.check(took <= 2*checkInterval+time.Second, "app02 is out of rotation right after the command", "after %.1f s", took.Seconds())
	if err := p.checkNoRequests(ctx, "app02", 5*time.Second, "app02 gets no requests during its upgrade"); err != nil {
		return err
	}
	p.milestone(`the upgrade is done: lb ctl force down webapp -d`)
	if _, err := p.site.RunLB(ctx, app.Host, "ctl", "force", "down", "webapp", "-d"); err != nil {
		return err
	}
	if err := p.watch(ctx, waitTimeout, func(v snapshot) bool { return v.weight("app02") == 30 }); err != nil {
		return fmt.Errorf("app02 back at weight 30: %w", err)
	}
	back := slices.Clone(p.weights["app02"])
	back = back[slices.Index(back, 0):]
	p.check(slices.IsSorted(back), "app02 comes back and ramps up", "in %d steps", len(slices.Compact(back)))
	return nil
}

func heartbeatFails(ctx context.Context, p *runner) error {
	app := p.site.Apps[2]
	app.SetHeartbeat(http.StatusInternalServerError)
	if err := p.watch(ctx, waitTimeout, func(v snapshot) bool { return v.weight("app03") == 0 }); err != nil {
		return fmt.Errorf("app03 at weight 0: %w", err)
	}
	if err := p.checkNoRequests(ctx, "app03", 3*time.Second, "app03 gets no requests while its heartbeat fails"); err != nil {
		return err
	}
	p.milestone("app03's application is fixed")
	app.SetHeartbeat(http.StatusOK)
	if err := p.watch(ctx, waitTimeout, func(v snapshot) bool { return v.weight("app03") == 75 }); err != nil {
		return fmt.Errorf("app03 back at weight 75: %w", err)
	}
	return nil
}

// milestone prints a table that stays, and the event that comes next.
func (p *runner) milestone(next string) {
	p.screen.table(p.last)
	p.screen.note(next)
}

// checkNoRequests watches for d and claims that the node answers no request meanwhile. It first waits for requests that were in flight
// when the weight became 0.
func (p *runner) checkNoRequests(ctx context.Context, node string, d time.Duration, text string) error {
	if err := p.watch(ctx, time.Second, nil); err != nil {
		return err
	}
	before := p.traffic.Counts()
	if err := p.watch(ctx, d, nil); err != nil {
		return err
	}
	served := p.traffic.Counts().Since(before)
	p.check(served.ByNode[node] == 0 && served.Answered > 0, text, "%d of %d", served.ByNode[node], served.Answered)
	return nil
}

func balancerDies(ctx context.Context, p *runner) error {
	before := p.traffic.Counts()
	p.weights = map[string][]int{}
	if err := p.site.Balancer.Kill(); err != nil {
		return err
	}
	p.screen.note("lb balance is killed")
	if err := p.watch(ctx, 4*time.Second, nil); err != nil {
		return err
	}
	p.milestone("lb balance is restarted")
	if err := p.site.Balancer.Start(ctx); err != nil {
		return err
	}
	if err := p.watch(ctx, 4*time.Second, nil); err != nil {
		return err
	}
	moved := []string{}
	for node, weights := range p.weights {
		if slices.Min(weights) != slices.Max(weights) {
			moved = append(moved, node)
		}
	}
	slices.Sort(moved)
	p.check(len(moved) == 0, "no weight changes when the balancer dies and restarts", "%d of %d nodes changed", len(moved), len(p.weights))
	served := p.traffic.Counts().Since(before)
	p.check(served.Failed == 0 && served.Answered > 0, "no request is lost while it is down",
		"%d answered, %d lost", served.Answered, served.Failed)
	return nil
}
