// Package doctor examines a machine: one function for each promise that the documentation makes about what must be set or true there.
// It changes nothing.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Finding is what doctor found when it looked at a promise. Use good, bad and unknown to make one.
type Finding struct {
	Good    bool   `json:"good"`
	Unknown bool   `json:"unknown,omitempty"` // it could not be examined
	What    string `json:"what"`              // the promise and its state
	Why     string `json:"why"`               // the consequence, or why it is unknown; "" if Good
	Fix     string `json:"do"`                // what to do; "" if Good
	// Of lists what has the finding, such as nodes or clusters. Findings that differ only by it are one.
	Of []string `json:"of,omitempty"`
}

// good is a promise that is kept.
func good(format string, args ...any) Finding {
	return Finding{Good: true, What: fmt.Sprintf(format, args...)}
}

// bad is a promise that is broken: what is wrong, what clients or operators notice, and what to do.
func bad(what, why, fix string) Finding { return Finding{What: what, Why: why, Fix: fix} }

// unknown is a promise that could not be examined.
func unknown(what, why, fix string) Finding {
	return Finding{Unknown: true, What: what, Why: why, Fix: fix}
}

// of says what has the finding.
func (f Finding) of(subjects ...string) Finding {
	f.Of = subjects
	return f
}

// String is the finding for people: one line, and one for the fix.
func (f Finding) String() string {
	what := f.What
	if len(f.Of) > 0 {
		what += " (" + shorten(f.Of) + ")"
	}
	switch {
	case f.Good:
		return "good: " + what
	case f.Unknown:
		return fmt.Sprintf("unknown: %s: %s\n  → %s", what, f.Why, f.Fix)
	}
	return fmt.Sprintf("bad:  %s: %s\n  → %s", what, f.Why, f.Fix)
}

// maxShown is how many subjects of a finding people see.
const maxShown = 5

func shorten(names []string) string {
	if len(names) <= maxShown {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:maxShown], ", "), len(names)-maxShown)
}

// promise is something that the documentation says must be set or true on a machine.
type promise struct {
	about string // names it where it cannot be examined
	doc   string // the page, and its heading, that makes it
	of    role   // the machines that it concerns
	// look examines it. With an error the promise is unknown. No finding: it does not apply to this configuration.
	look func(context.Context, *Machine) ([]Finding, error)
}

// promises are all of them, in the order in which they are examined and printed: what others need comes first. A new promise is a
// function in the file of its subject, and a row.
var promises = []promise{
	{"IPVS's settings", "rules.md: The kernel's settings", balancer, lookAtIPVSSettings},
	{"the balancer's network", "rules.md: The balancer's network", balancer, lookAtNetwork},
	{"the kernel's schedulers", "rules.md: How the kernel chooses", balancer, lookAtSchedulers},
	{"nftables", "rules.md: What lb touches", balancer, lookAtNftables},
	{"the marks' way to IPVS", "rules.md: From a mark to IPVS", balancer, lookAtMarks},
	{"nodes' addresses", "rules.md: The kernel's tables", balancer, lookAtNodes},
	{"the interface of the sync daemons", "rules.md: Connections that survive a takeover", balancer, lookAtSyncInterface},
	{"tunnels from other data centres", "sites.md: Setting it up", balancer, lookAtRelays},
	{"lb balance", "runbook.md: 4. One lb.toml", balancer, lookAtBalancer},
	{"lb balance's limit of open files", "rules.md: Who may change what", balancer, lookAtBalancerLimits},
	{"lb balance's data_dir", "rules.md: What lb touches", balancer, lookAtBalancerData},
	{"events.log", "rules.md: What lb touches", balancer, lookAtEvents},
	{"up and down files", "rules.md: Up and down files", balancer, lookAtOverrides},
	{"lb-balance.service", "runbook.md: 4. One lb.toml", balancer, lookAtBalancerUnit},
	{"Pacemaker's resource agent", "runbook.md: 3. lb", balancer, lookAtResourceAgent},
	{"the tunnel", "rules.md: The tunnel of an app node", tunnelled, lookAtTunnel},
	{"lb agent", "runbook.md: 4. One lb.toml", appNode, lookAtAgent},
	{"lb agent's limit of open files", "rules.md: Who may change what", appNode, lookAtAgentLimits},
	{"lb agent's data_dir", "rules.md: What lb touches", appNode, lookAtAgentData},
	{"lb agent's cgroup", "rules.md: Health, on an app node", appNode, lookAtCgroup},
	{"lb-agent.service", "runbook.md: 4. One lb.toml", appNode, lookAtAgentUnit},
	{"the clock", "runbook.md: 1. Machines", balancer | appNode, lookAtClock},
}

// Examine looks at every promise that concerns the machine. The error is why any could not be examined.
func Examine(ctx context.Context, m *Machine) ([]Finding, error) {
	var all []Finding
	var errs []error
	for _, p := range promises {
		if m.roles&p.of == 0 {
			continue
		}
		found, err := p.look(ctx, m)
		if err != nil {
			found = append(found, unknown(p.about, strings.ReplaceAll(err.Error(), "\n", "; "), fixUnknown(err)))
			errs = append(errs, err)
		}
		all = append(all, found...)
	}
	return merge(all), errors.Join(errs...)
}

// merge unites findings that say the same about several subjects, and what is unknown for the same reason.
func merge(all []Finding) []Finding {
	var merged []Finding
	for _, f := range all {
		reason := slices.IndexFunc(merged, func(g Finding) bool { return f.Unknown && g.Unknown && f.Why == g.Why && f.Fix == g.Fix })
		if reason >= 0 && merged[reason].What != f.What {
			merged[reason].What += ", " + f.What
			continue
		}
		same := slices.IndexFunc(merged, func(g Finding) bool {
			return f.Good == g.Good && f.Unknown == g.Unknown && f.What == g.What && f.Why == g.Why && f.Fix == g.Fix
		})
		if same < 0 {
			merged = append(merged, f)
			continue
		}
		for _, subject := range f.Of {
			if !slices.Contains(merged[same].Of, subject) {
				merged[same].Of = append(slices.Clone(merged[same].Of), subject)
			}
		}
	}
	return merged
}
