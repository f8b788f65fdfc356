package consistency

import (
	"fmt"
	"slices"
	"strings"

	"github.com/braintree/lb/ocf/crm"
)

// loadCommand creates or updates a cluster's resources in Pacemaker.
func loadCommand(cluster string) string {
	return fmt.Sprintf("`lb ctl pacemaker %s | crm configure load update -`", cluster)
}

// membershipFindings finds the views that lack the cluster.
func (v Views) membershipFindings(f facts) []Finding {
	found := []Finding{}
	inFile := f.config != nil || f.mark != 0 && v.Config.Marks[f.name] != 0
	switch {
	case f.placement.State == absent && f.config != nil && f.config.Autostart:
		found = append(found, note("not-in-pacemaker",
			"it is not in Pacemaker, and lb balance runs it because of autostart = true: nothing moves it when this machine fails",
			"to let Pacemaker move it, remove autostart, then "+loadCommand(f.name)))
	case f.placement.State == absent && inFile:
		found = append(found, problem("not-in-pacemaker",
			fmt.Sprintf("it is in %s but not in Pacemaker, so nothing starts it", v.Config.Path),
			loadCommand(f.name)))
	case f.placement.State == absent:
		found = append(found, problem("not-in-config",
			fmt.Sprintf("lb balance has it, but %s no longer does", v.Config.Path),
			"`lb ctl reload`"))
	case f.resource.Orphaned:
		found = append(found, problem("orphaned",
			fmt.Sprintf("it was removed from Pacemaker's configuration while it ran %s", f.placement),
			fmt.Sprintf("`crm resource cleanup %s`; to keep it, %s", f.resource.ID, loadCommand(f.name))))
	case f.placement.State != pacemakerSilent && !inFile && v.Config.Invalid == "":
		found = append(found, problem("not-in-config",
			fmt.Sprintf("Pacemaker runs it as %s, but %s has no [clusters.%s]: its next start fails", f.resource.ID, v.Config.Path, f.name),
			fmt.Sprintf("restore it in the file, then `lb ctl reload`; or `crm resource stop %s && crm configure delete %s`",
				container(f.resource), container(f.resource))))
	}
	if f.daemon == unknown && inFile {
		found = append(found, problem("not-in-daemon",
			fmt.Sprintf("it is in %s, but lb balance has not loaded it yet", v.Config.Path),
			"`lb ctl reload`"))
	}
	return found
}

// resourceFindings finds what Pacemaker reports about a resource: at most one finding.
func (v Views) resourceFindings(r crm.Resource) []Finding {
	switch {
	case r.ID == "":
		return nil
	case len(r.On) > 1 && r.Clone == "" && !r.Orphaned: // an orphan's clone is no longer known
		return []Finding{problem("twice",
			fmt.Sprintf("Pacemaker runs %s on %s at once", r.ID, strings.Join(r.On, " and ")),
			fmt.Sprintf("`crm resource refresh %s` makes Pacemaker check again: it stops all and starts one", r.ID))}
	case r.Blocked:
		return []Finding{problem("blocked",
			fmt.Sprintf("%s could not be stopped on %s, and Pacemaker leaves it alone now", r.ID, strings.Join(r.FailedOn, " and ")),
			fmt.Sprintf("`crm status` shows the agent's message; after fixing the cause: `crm resource cleanup %s`", r.ID))}
	case r.Failed:
		return []Finding{problem("failed",
			fmt.Sprintf("%s has failed on %s", r.ID, strings.Join(r.FailedOn, " and ")),
			fmt.Sprintf("Pacemaker is about to restart or move it; `crm status` shows the agent's message; "+
				"if that lasts: `crm resource cleanup %s`", r.ID))}
	case r.Pending != "":
		return []Finding{note("changing",
			fmt.Sprintf("Pacemaker is working on it: %s is %s", r.ID, strings.ToLower(r.Pending)),
			"run this command again in a moment")}
	case len(r.On) == 0 && r.TargetRole == "Stopped":
		return []Finding{note("disabled",
			fmt.Sprintf("Pacemaker keeps %s stopped, as an operator requested", r.ID),
			fmt.Sprintf("to run it: `crm resource start %s`", container(r)))}
	case len(r.On) == 0:
		return []Finding{problem("nowhere", fmt.Sprintf("Pacemaker does not run %s on any machine", r.ID), explainCommand(r.ID))}
	case !r.Managed && !v.Pacemaker.Status.Maintenance:
		return []Finding{note("unmanaged",
			fmt.Sprintf("Pacemaker does not manage %s: it does not move it after a failure", r.ID),
			fmt.Sprintf("when the work is done: `crm resource manage %s`", container(r)))}
	}
	return nil
}

// explainCommand shows why Pacemaker does not run a resource.
func explainCommand(id string) string {
	return fmt.Sprintf("`crm_resource --why --resource %s` and `crm status` show why; after fixing a failure: `crm resource cleanup %s`",
		id, id)
}

// cloneFindings finds online machines that do not run their instance of the cluster, and so could not take over its addresses.
func (v Views) cloneFindings(f facts) []Finding {
	r := f.resource
	if r.Clone == "" || len(r.On) == 0 || r.Pending != "" {
		return nil
	}
	var missing []string
	for _, m := range v.Pacemaker.Status.Machines {
		if stateOf(m) == "online" && !slices.Contains(r.On, m.Name) {
			missing = append(missing, m.Name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return []Finding{note("spare-missing",
		fmt.Sprintf("it does not run on %s, which therefore cannot take over its addresses", strings.Join(missing, " and ")),
		explainCommand(r.ID))}
}

// historyFindings finds failures that are over, and constraints that operators added by a move or ban and have not cleared.
func (v Views) historyFindings(f facts, addresses []address) []Finding {
	ids := []string{f.resource.ID, f.resource.Group, f.resource.Clone}
	for _, a := range addresses {
		ids = append(ids, a.resource.ID, a.resource.Group)
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	ids = slices.DeleteFunc(ids, func(id string) bool { return id == "" })
	var found []Finding
	for _, failure := range v.Pacemaker.Status.Failures {
		if id := failure.Resource(); slices.Contains(ids, id) {
			found = append(found, note("failure-kept",
				fmt.Sprintf("%s failed on %s at %s: %s", failure.Operation, failure.Machine, failure.When, failure.Cause()),
				fmt.Sprintf("Pacemaker forgets it after the failure-timeout of two minutes; to clear it now: `crm resource cleanup %s`",
					id)))
		}
	}
	for _, c := range v.Pacemaker.Configuration.Manual {
		if slices.Contains(ids, c.Resource) {
			found = append(found, note("ordered",
				fmt.Sprintf("an operator moved or banned %s by hand, and that constraint (%s) still applies", c.Resource, c.ID),
				fmt.Sprintf("`crm resource clear %s`", c.Resource)))
		}
	}
	return found
}

// container returns the id by which an operator stops or moves a resource: its group or clone, if it is in one.
func container(r crm.Resource) string {
	switch {
	case r.Group != "":
		return r.Group
	case r.Clone != "":
		return r.Clone
	}
	return r.ID
}
