// Package force keeps what operators forced (down, up, a ceiling on the health) in files that survive restarts and crashes.
package force

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/braintree/lb/agent/score"
	"github.com/braintree/lb/netx/recordstore"
	"github.com/braintree/lb/netx/sanitize"
)

// Bounds of what a force holds, in bytes. A reason is one line that fits on a screen, not a document.
const (
	maxReason  = 500
	maxWho     = 100
	maxService = 200 // so that the file's name stays below the 255 bytes of most file systems
)

// ErrInvalid is wrapped by every error about a force that cannot be: the caller's fault, not the disk's.
var ErrInvalid = errors.New("not a valid force")

// Force is one standing order of an operator.
type Force struct {
	Service string     `json:"service,omitempty"` // "" is every service
	Kind    score.Kind `json:"kind"`
	Value   int        `json:"value,omitempty"` // for health: the ceiling, 0 to 100
	Reason  string     `json:"reason"`
	Who     string     `json:"who"`
	At      time.Time  `json:"at"`               // when it was given
	Expires time.Time  `json:"expires,omitzero"` // when it ends by itself; zero is never
}

// Expired tells that the force has ended by itself. The wall clock decides, for a force outlives processes and reboots, which
// no other clock does: when the clock is set forward a force ends earlier, when it is set back it lasts longer.
func (f Force) Expired(now time.Time) bool {
	return !f.Expires.IsZero() && !now.Before(f.Expires)
}

// Override is what the force means for the health.
func (f Force) Override() score.Override {
	return score.Override{Global: f.Service == "", Kind: f.Kind, Value: f.Value}
}

// key names a force: there is one of each kind for each service, and one of each kind for all.
type key struct {
	service string
	kind    score.Kind
}

func (f Force) key() key { return key{f.Service, f.Kind} }

// Cleaned gives the force as it is kept: texts bounded to one printable line, times in UTC.
func (f Force) Cleaned() Force {
	f.Reason = sanitize.Line(f.Reason, maxReason)
	f.Who = sanitize.Line(f.Who, maxWho)
	f.At = f.At.UTC().Round(0)
	if !f.Expires.IsZero() {
		f.Expires = f.Expires.UTC().Round(0)
	}
	if f.Kind != score.Health {
		f.Value = 0
	}
	return f
}

// validate reports why a force cannot be.
func (f Force) validate() error {
	switch {
	case !f.Kind.Valid():
		return fmt.Errorf("%w: kind %q is none of down, up and health", ErrInvalid, sanitize.Line(string(f.Kind), 40))
	case f.Kind == score.Health && (f.Value < 0 || f.Value > score.Max):
		return fmt.Errorf("%w: health %d is not within 0 to 100", ErrInvalid, f.Value)
	case len(f.Service) > maxService:
		return fmt.Errorf("%w: a service's name has at most %d bytes", ErrInvalid, maxService)
	case !utf8.ValidString(f.Service):
		return fmt.Errorf("%w: the service's name is not valid UTF-8", ErrInvalid)
	}
	return nil
}

// checked refuses a force that cannot be, and gives it as it is kept.
func (f Force) checked() (Force, error) {
	if err := f.validate(); err != nil {
		return Force{}, err
	}
	return f.Cleaned(), nil
}

// ParseDuration reads for how long a force is given: a duration such as 90m or 1h30m, or whole days such as 3d.
func ParseDuration(s string) (time.Duration, error) {
	d, err := recordstore.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return d, nil
}
