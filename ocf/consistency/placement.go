package consistency

import (
	"fmt"
	"slices"

	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
)

// placementFindings compares what the three say about this machine.
func (v Views) placementFindings(f facts) []Finding {
	if f.resource.Pending != "" {
		return nil // all of it is about to change
	}
	switch f.placement.State {
	case here:
		return v.runsHere(f)
	case pacemakerSilent:
		return v.runsUnknown(f)
	}
	return v.runsNotHere(f)
}

// runsHere compares the views of a cluster that Pacemaker runs on this machine.
func (v Views) runsHere(f facts) []Finding {
	recovers := fmt.Sprintf("Pacemaker notices within 5 s and moves its addresses; if it does not: `crm resource refresh %s`",
		f.resource.ID)
	switch {
	case f.daemon == daemonSilent && f.kernel.Service:
		return append(v.kernelFindings(f), frozenWeights())
	case f.daemon == daemonSilent:
		return []Finding{problem("not-running",
			"Pacemaker runs it here, but the kernel has no service for it and lb balance does not respond", recovers)}
	case f.daemon != running && f.kernel.Service:
		return []Finding{problem("daemon-does-not-run",
			fmt.Sprintf("Pacemaker runs it here and the kernel forwards mark %d, but lb balance does not run it: its weights are frozen",
				f.mark),
			recovers)}
	case f.daemon != running:
		return []Finding{problem("daemon-does-not-run", "Pacemaker runs it here, but lb balance and the kernel do not", recovers)}
	}
	return v.kernelFindings(f)
}

// runsNotHere compares the views of a cluster that Pacemaker runs on another machine or nowhere.
func (v Views) runsNotHere(f facts) []Finding {
	if f.config != nil && f.config.Autostart && f.placement.State == absent {
		return v.runsUnknown(f)
	}
	switch {
	case f.daemon == running:
		return []Finding{problem("daemon-runs",
			fmt.Sprintf("lb balance runs it here, but Pacemaker runs it %s", f.placement),
			fmt.Sprintf("`lb ctl cluster stop %s`; if it has autostart = true, remove that, or the next restart starts it again", f.name))}
	case f.kernel.Service:
		return []Finding{leftOver(f, fmt.Sprintf("the kernel here forwards mark %d for it, "+
			"but lb balance does not run it and Pacemaker runs it %s", f.mark, f.placement))}
	}
	return nil
}

// runsUnknown compares lb balance and the kernel alone.
func (v Views) runsUnknown(f facts) []Finding {
	switch {
	case f.daemon == daemonSilent && f.kernel.Service:
		return append(v.kernelFindings(f), frozenWeights())
	case f.daemon == stopped && f.kernel.Service:
		return []Finding{leftOver(f, fmt.Sprintf("the kernel forwards mark %d for it, but lb balance does not run it", f.mark))}
	case f.daemon == running:
		return v.kernelFindings(f)
	}
	return nil
}

func leftOver(f facts, text string) Finding {
	return problem("left-over", text, fmt.Sprintf("`OCF_RESKEY_cluster=%s lb ocf stop` removes it", f.name))
}

func frozenWeights() Finding {
	return problem("unfollowed", "the kernel forwards for it, but nothing updates its weights", "fix lb balance first, see above")
}

// kernelFindings finds what the kernel lacks of a cluster that should run here.
func (v Views) kernelFindings(f facts) []Finding {
	why := fmt.Sprintf("`lb ctl cluster status %s` shows why", f.name)
	lastError := ""
	if f.state.LastError != "" {
		lastError = ": " + f.state.LastError
	}
	unmarked := v.unmarked(f)
	switch {
	case !f.kernel.Service:
		return []Finding{problem("kernel-empty",
			fmt.Sprintf("lb balance runs it, but the kernel has no service for mark %d%s", f.mark, lastError),
			"lb balance restores it at its next reconcile; if it does not, "+why+", and `journalctl -u lb-balance` "+
				"what the kernel rejected")}
	case f.kernel.Weighted == 0:
		return []Finding{problem("no-weights",
			fmt.Sprintf("the kernel forwards mark %d, but none of its %d nodes has a weight: no client is served%s", f.mark,
				f.kernel.Nodes, lastError),
			why)}
	case unmarked != "":
		return []Finding{problem("unmarked",
			fmt.Sprintf("packets to %s do not get mark %d here, so the service never sees them%s", unmarked, f.mark, lastError),
			"lb balance restores the rule within a few reconciles; if it does not, `nft list table inet lb` shows the rules, "+
				"and `journalctl -u lb-balance` what the kernel rejected")}
	case lastError != "":
		return []Finding{problem("kernel-refuses", "lb balance reports"+lastError, why)}
	}
	return nil
}

// unmarked returns the first port of a virtual IP where packets do not get the cluster's mark; "": there is none.
func (v Views) unmarked(f facts) string {
	if f.config == nil {
		return ""
	}
	for _, vip := range f.config.VIPs {
		for _, port := range vip.Ports {
			want := mark.Rule{Address: vip.Address, Interface: vip.Interface, Protocol: vip.Protocol, Port: port, Mark: ipvs.Mark(f.mark)}
			if !slices.Contains(v.Kernel.Rules, want) {
				return fmt.Sprintf("%s, %s port %d", vip.Address, vip.Protocol, port)
			}
		}
	}
	return ""
}
