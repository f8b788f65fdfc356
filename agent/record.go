package agent

import (
	"net/http"
	"time"

	"github.com/braintree/lb/agent/force"
	"github.com/braintree/lb/agent/score"
	"github.com/braintree/lb/netx/audit"
)

// ChangeReport is the answer to a change in JSON.
type ChangeReport struct {
	Change  audit.Change `json:"change"`            // forced or deleted
	Service string       `json:"service,omitempty"` // absent: every service
	ForcedReport
	AuditError string `json:"audit_error,omitempty"` // the change was made, but is missing from the audit log
}

// entry is a change of a force as the audit log has it.
func entry(change audit.Change, f force.Force) audit.Entry {
	e := audit.Entry{Time: f.At, Change: change, Service: f.Service, Kind: string(f.Kind), Reason: f.Reason, Who: f.Who, Expires: f.Expires}
	if f.Kind == score.Health {
		e.Value = &f.Value
	}
	if change != audit.Forced {
		e.Time, e.SetAt = time.Now(), f.At
	}
	return e
}

// record writes a change to the audit log. One that cannot be recorded is made all the same, for a node that must go out of rotation
// goes out also when its disk is full; then the log has it, and the error is for the client.
func (a *Agent) record(e audit.Entry) error {
	err := a.audit.Append(e)
	if err != nil {
		a.log.Error("a change is missing from the audit log", "change", e.Change, "service", e.Service, "kind", e.Kind, "reason", e.Reason, "who", e.Who, "peer", e.Peer, "err", err)
	}
	return err
}

// answerChange tells the client that its change was made. The first line is litmus_paper's; more follow only where there is
// something that litmus_paper has no word for.
func answerChange(w http.ResponseWriter, r *http.Request, change audit.Change, f force.Force, auditErr error) {
	status, text := http.StatusCreated, "File created"
	if change == audit.Deleted {
		status, text = http.StatusOK, "File deleted"
	}
	report := ChangeReport{Change: change, Service: f.Service, ForcedReport: *forcedReport(&f)}
	if change == audit.Forced && !f.Expires.IsZero() {
		text += "\nIt ends by itself at " + f.Expires.Format(time.RFC3339) + ".\n"
	}
	if auditErr != nil {
		report.AuditError = auditErr.Error()
		text += "\nThe change is made, but: " + auditErr.Error() + ".\n"
	}
	if wantsJSON(r) {
		answerJSON(w, status, report)
		return
	}
	answer(w, status, text)
}

// endExpired ends the forces whose time is over, once each, with a line in both logs.
func (a *Agent) endExpired(now time.Time) {
	ended, err := a.forces.Expire(now)
	for _, f := range ended {
		a.forceChanged(f.Service) // in case somebody has set the clock forward, which timers do not notice
		a.log.Info("a force has ended by itself", "service", f.Service, "kind", f.Kind, "reason", f.Reason, "who", f.Who, "given", f.At, "expires", f.Expires)
		a.record(entry(audit.Expired, f)) // what fails is logged; there is nobody to tell
	}
	if err != nil {
		a.log.Error("a force has ended, but its file is still there", "err", err)
	}
}
