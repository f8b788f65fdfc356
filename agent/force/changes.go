package force

import (
	"errors"
	"log/slog"
	"time"

	"github.com/braintree/lb/agent/score"
	"github.com/braintree/lb/netx/audit"
	"github.com/braintree/lb/netx/recordstore"
	"github.com/braintree/lb/netx/sanitize"
)

// ErrNotForced reports that there is no such force to end.
var ErrNotForced = errors.New("not forced")

// Changes publishes every change of a force: it changes the store, notifies the streams, and writes to both
// logs, in this order.
type Changes struct {
	Store   *Store
	Audit   *audit.Log
	Log     *slog.Logger
	Changed func(service string) // publishes the new health; "" is every service
}

// By is the person or process that ended a force, and the reason.
type By struct {
	Who    string
	Reason string
	Peer   string // who sent the request, as the kernel or the token identifies them
}

// Put puts a force into effect. If err is not nil, nothing has changed. auditErr reports that the force is in
// effect, but missing from the audit log.
func (c *Changes) Put(f Force, peer string) (auditErr, err error) {
	if err := c.Store.Put(f); err != nil {
		return nil, err
	}
	c.Changed(f.Service)
	attrs := []any{"service", f.Service, "kind", f.Kind, "value", f.Value, "reason", f.Reason, "who", f.Who, "peer", peer}
	if !f.Expires.IsZero() {
		attrs = append(attrs, "expires", f.Expires)
	}
	c.Log.Info("forced", attrs...)
	e := entry(audit.Forced, f)
	e.Peer = peer
	return c.record(e), nil
}

// Delete ends a force and returns it. If err is not nil, nothing has changed; ErrNotForced: there is no such
// force. auditErr reports that the force has ended, but the change is missing from the audit log.
func (c *Changes) Delete(service string, kind score.Kind, by By) (f Force, auditErr, err error) {
	f, existed, err := c.Store.Delete(service, kind)
	if err != nil {
		return f, nil, err
	}
	if !existed {
		return f, nil, ErrNotForced
	}
	c.Changed(service)
	c.Log.Info("no longer forced", "service", service, "kind", kind, "reason", sanitize.Line(by.Reason, recordstore.MaxReason),
		"who", sanitize.Line(by.Who, recordstore.MaxWho), "peer", by.Peer)
	e := entry(audit.Deleted, f)
	e.Who, e.Reason, e.Peer = by.Who, by.Reason, by.Peer
	return f, c.record(e), nil
}

// Expire ends the forces that have expired, once each.
func (c *Changes) Expire(now time.Time) {
	expired, err := c.Store.Expire(now)
	for _, f := range expired {
		c.Changed(f.Service) // the streams' timers miss a clock that was set forward
		c.Log.Info("force expired", "service", f.Service, "kind", f.Kind, "reason", f.Reason, "who", f.Who,
			"set_at", f.At, "expires", f.Expires)
		_ = c.record(entry(audit.Expired, f)) // logged; nobody waits for an answer
	}
	if err != nil {
		c.Log.Error("cannot remove the file of an expired force", "err", err)
	}
}

// entry is a change as in the audit log.
func entry(change audit.Change, f Force) audit.Entry {
	e := audit.Entry{
		Time: f.At, Change: change, Service: f.Service, Kind: string(f.Kind), Reason: f.Reason, Who: f.Who, Expires: f.Expires,
	}
	if f.Kind == score.Health {
		e.Value = &f.Value
	}
	if change != audit.Forced {
		e.Time, e.SetAt = time.Now(), f.At
	}
	return e
}

// record writes to the audit log. If that fails, the change is still made, because a node must go out of
// rotation even if its disk is full; the log has the change then.
func (c *Changes) record(e audit.Entry) error {
	err := c.Audit.Append(e)
	if err != nil {
		c.Log.Error("change missing from the audit log", "change", e.Change, "service", e.Service, "kind", e.Kind,
			"reason", e.Reason, "who", e.Who, "peer", e.Peer, "err", err)
	}
	return err
}
