// Package drain stores operators' drains in files that survive restarts and crashes.
package drain

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
	"unicode/utf8"

	"github.com/braintree/lb/netx/recordstore"
	"github.com/braintree/lb/netx/sanitize"
)

// maxCluster bounds the name of a cluster, in bytes: it keeps the file name below the 255 bytes that most file systems allow.
const maxCluster = 150

// ErrInvalid is wrapped by errors about an invalid drain, as opposed to I/O errors.
var ErrInvalid = errors.New("invalid drain")

// Drain is an operator's order to give a node of a cluster no new connections.
type Drain struct {
	Cluster string     `json:"cluster"`
	Node    netip.Addr `json:"node"`
	Reason  string     `json:"reason"`
	Who     string     `json:"who"`
	At      time.Time  `json:"at"` // when it was ordered
	// Expires is when it ends by itself; zero means never. It has a monotonic clock reading, which decides.
	Expires time.Time `json:"expires,omitzero"`
}

// Key identifies a drain: a node of a cluster has at most one.
type Key struct {
	Cluster string
	Node    netip.Addr
}

// Key returns the drain's key.
func (d Drain) Key() Key { return Key{d.Cluster, d.Node} }

// Expired reports whether the drain has ended by itself.
func (d Drain) Expired(now time.Time) bool { return !d.Expires.IsZero() && !now.Before(d.Expires) }

// Describe says who drains the node, why, and until when: "by kim: new disks, until 2026-11-25T22:00:00Z".
func (d Drain) Describe() string {
	text := "by " + d.Who
	if d.Reason != "" {
		text += ": " + d.Reason
	}
	if !d.Expires.IsZero() {
		text += ", until " + d.Expires.UTC().Format(time.RFC3339)
	}
	return text
}

// validated returns the drain with its texts cut to one printable line, or an error if it is invalid.
func (d Drain) validated() (Drain, error) {
	switch {
	case d.Cluster == "" || len(d.Cluster) > maxCluster || !utf8.ValidString(d.Cluster):
		return Drain{}, fmt.Errorf("%w: cluster name must be 1 to %d bytes of UTF-8", ErrInvalid, maxCluster)
	case !d.Node.IsValid() || d.Node.Zone() != "" || d.Node.Is4In6():
		return Drain{}, fmt.Errorf("%w: %q is not a node address", ErrInvalid, d.Node)
	}
	d.Reason = sanitize.Line(d.Reason, recordstore.MaxReason)
	d.Who = sanitize.Line(d.Who, recordstore.MaxWho)
	return d, nil
}

// withMonotonicExpiry gives a drain that was read from disk an expiry on this process's monotonic clock. Only the wall clock spans a
// restart: if it was set forward meanwhile, the drain ends early. If it was set back, the drain still lasts no longer from now than
// its original duration.
func (d Drain) withMonotonicExpiry() Drain {
	if d.Expires.IsZero() {
		return d
	}
	now := time.Now()
	left := min(d.Expires.Sub(now.Round(0)), d.Expires.Sub(d.At))
	d.Expires = now.Add(max(left, 0))
	return d
}
