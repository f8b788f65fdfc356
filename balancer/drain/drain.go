// Package drain keeps which nodes operators drain, in files that survive restarts and crashes.
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

// Bounds of what a drain holds, in bytes. A reason is one line that fits on a screen, not a document.
const (
	maxReason  = 500
	maxWho     = 100
	maxCluster = 150 // so that the file's name stays below the 255 bytes of most file systems
)

// ErrInvalid is wrapped by every error about a drain that cannot be: the caller's fault, not the disk's.
var ErrInvalid = errors.New("not a valid drain")

// Drain is one standing order of an operator: no new connections for a node of a cluster.
type Drain struct {
	Cluster string     `json:"cluster"`
	Node    netip.Addr `json:"node"`
	Reason  string     `json:"reason"`
	Who     string     `json:"who"`
	At      time.Time  `json:"at"` // when it was given
	// Expires is when it ends by itself; zero is never. Of a drain that was given or read in this process it has a monotonic
	// reading, too, and that decides.
	Expires time.Time `json:"expires,omitzero"`
}

// Key names a drain: there is one for each node of each cluster.
type Key struct {
	Cluster string
	Node    netip.Addr
}

// Key names the drain.
func (d Drain) Key() Key { return Key{d.Cluster, d.Node} }

// Expired tells that the drain has ended by itself.
func (d Drain) Expired(now time.Time) bool { return !d.Expires.IsZero() && !now.Before(d.Expires) }

// Describe say who drains the node, why and until when: "by kim: new disks, until 2026-11-25T22:00:00Z".
func (d Drain) Describe() string {
	words := "by " + d.Who
	if d.Reason != "" {
		words += ": " + d.Reason
	}
	if !d.Expires.IsZero() {
		words += ", until " + d.Expires.UTC().Format(time.RFC3339)
	}
	return words
}

// ParseDuration reads for how long a drain is given: a duration such as 90m or 1h30m, or whole days such as 3d.
func ParseDuration(s string) (time.Duration, error) {
	d, err := recordstore.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return d, nil
}

// checked refuses a drain that cannot be, and gives it as it is kept: texts bounded to one printable line.
func (d Drain) checked() (Drain, error) {
	switch {
	case d.Cluster == "" || len(d.Cluster) > maxCluster || !utf8.ValidString(d.Cluster):
		return Drain{}, fmt.Errorf("%w: the name of a cluster has 1 to %d bytes of UTF-8", ErrInvalid, maxCluster)
	case !d.Node.IsValid() || d.Node.Zone() != "" || d.Node.Is4In6():
		return Drain{}, fmt.Errorf("%w: %q is not the address of a node", ErrInvalid, d.Node)
	}
	d.Reason = sanitize.Line(d.Reason, maxReason)
	d.Who = sanitize.Line(d.Who, maxWho)
	return d, nil
}

// resume gives a drain that was read from the disk its end by this process's clock. Only the wall clock bridges a restart: when it
// was set forward meanwhile the drain ends earlier. It never lasts longer from now on than it was given for at first, wherever the
// clock has gone.
func (d Drain) resume() Drain {
	if d.Expires.IsZero() {
		return d
	}
	now := time.Now()
	left := min(d.Expires.Sub(now.Round(0)), d.Expires.Sub(d.At))
	d.Expires = now.Add(max(left, 0))
	return d
}
