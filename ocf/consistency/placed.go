package consistency

import "fmt"

// placed compares what the three say about this machine.
func (v Views) placed(f facts) []Finding {
	if f.resource.Pending != "" {
		return nil // in a moment all of it may be otherwise
	}
	switch f.where.State {
	case here:
		return v.placedHere(f)
	case silent:
		return v.placedUnseen(f)
	}
	return v.placedNotHere(f)
}

// placedHere compares when Pacemaker says that the cluster runs here.
func (v Views) placedHere(f facts) []Finding {
	manages := fmt.Sprintf("Pacemaker sees that within 5 s and moves its addresses; if it does not: `crm resource refresh %s`", f.resource.ID)
	switch {
	case f.daemon == silent && f.kernel.Service:
		return append(v.forwarding(f), unfollowed())
	case f.daemon == silent:
		return []Finding{{Trouble, "not-running", "Pacemaker has it here, the kernel has no service for it, and lb balance does not answer", manages}}
	case f.daemon != running && f.kernel.Service:
		return []Finding{{Trouble, "daemon-does-not-run", fmt.Sprintf("Pacemaker has it here and the kernel forwards mark %d, but lb balance does not run it: the weights stand still", f.mark), manages}}
	case f.daemon != running:
		return []Finding{{Trouble, "daemon-does-not-run", "Pacemaker has it here, and neither lb balance nor the kernel does", manages}}
	}
	return v.forwarding(f)
}

// placedNotHere compares when Pacemaker has the cluster on another machine, nowhere, or not at all.
func (v Views) placedNotHere(f facts) []Finding {
	if f.config != nil && f.config.Autostart && f.where.State == absent {
		return v.placedUnseen(f)
	}
	const autostart = "; if lb.toml has autostart = true for it, remove that, or it is here again at the next restart"
	switch {
	case f.daemon == running:
		return []Finding{{Trouble, "daemon-runs", fmt.Sprintf("lb balance runs it here, and Pacemaker has it %s", f.where), fmt.Sprintf("`lb ctl cluster stop %s`%s", f.name, autostart)}}
	case f.kernel.Service:
		return []Finding{{Trouble, "left-over", fmt.Sprintf("the kernel here forwards mark %d for it; lb balance does not run it, and Pacemaker has it %s", f.mark, f.where),
			fmt.Sprintf("`OCF_RESKEY_cluster=%s lb ocf stop` takes it out", f.name)}}
	}
	return nil
}

// placedUnseen compares the daemon and the kernel alone.
func (v Views) placedUnseen(f facts) []Finding {
	switch {
	case f.daemon == silent && f.kernel.Service:
		return append(v.forwarding(f), unfollowed())
	case f.daemon == stopped && f.kernel.Service:
		return []Finding{{Trouble, "left-over", fmt.Sprintf("the kernel forwards mark %d for it, and lb balance does not run it", f.mark), fmt.Sprintf("`OCF_RESKEY_cluster=%s lb ocf stop` takes it out", f.name)}}
	case f.daemon == running:
		return v.forwarding(f)
	}
	return nil
}

func unfollowed() Finding {
	return Finding{Trouble, "unfollowed", "the kernel forwards for it, and nobody follows its nodes' health", "have lb balance answer, see above"}
}

// forwarding finds what the kernel lacks of a cluster that should run here.
func (v Views) forwarding(f facts) []Finding {
	why := fmt.Sprintf("`lb ctl cluster status %s` shows why", f.name)
	said := ""
	if f.state.LastError != "" {
		said = ": " + f.state.LastError
	}
	unmarked := v.unmarked(f)
	switch {
	case !f.kernel.Service:
		return []Finding{{Trouble, "kernel-empty", fmt.Sprintf("lb balance runs it, and the kernel has no service for mark %d%s", f.mark, said),
			"lb balance puts it back in its next cycle; if it does not, " + why + " and `journalctl -u lb-balance` what the kernel refuses"}}
	case f.kernel.Weighted == 0:
		return []Finding{{Trouble, "no-weights", fmt.Sprintf("the kernel forwards mark %d, and none of its %d nodes has a weight: no client is served%s", f.mark, f.kernel.Nodes, said), why}}
	case unmarked != "":
		return []Finding{{Trouble, "unmarked", fmt.Sprintf("packets to %s get no mark %d here, so the service never sees them%s", unmarked, f.mark, said),
			"lb balance puts the rule back within some cycles; if it does not, `nft list table inet lb` shows what is there and `journalctl -u lb-balance` what the kernel refuses"}}
	case said != "":
		return []Finding{{Trouble, "kernel-refuses", "lb balance says" + said, why}}
	}
	return nil
}
