// Package force has the forces on services, operators' overrides of their health: it stores them in files and
// records every change.
package force

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/braintree/lb/agent/api"
	"github.com/braintree/lb/agent/score"
	"github.com/braintree/lb/netx/recordstore"
	"github.com/braintree/lb/netx/sanitize"
)

// maxService is the maximum length of a service's name, in bytes. It keeps the file name below the 255 bytes
// of most file systems.
const maxService = 200

// ErrInvalid is wrapped by errors about an invalid force, as opposed to errors of the disk.
var ErrInvalid = errors.New("not a valid force")

// Force is an operator's override of the health of one service or of all.
type Force struct {
	Service string     `json:"service,omitempty"` // "": every service
	Kind    score.Kind `json:"kind"`
	Value   int        `json:"value,omitempty"` // the ceiling of kind health, 0 to 100
	Reason  string     `json:"reason"`
	Who     string     `json:"who"`
	At      time.Time  `json:"at"`               // when the operator set it
	Expires time.Time  `json:"expires,omitzero"` // zero: never
}

// Expired reports whether the force has expired. It uses the wall clock, the only clock that survives
// restarts and reboots. If the clock is set forward the force ends earlier, if it is set back the force lasts
// longer.
func (f Force) Expired(now time.Time) bool {
	return !f.Expires.IsZero() && !now.Before(f.Expires)
}

// Override is the effect of the force on the health.
func (f Force) Override() score.Override {
	return score.Override{Global: f.Service == "", Kind: f.Kind, Value: f.Value}
}

// key identifies a force: there is at most one of each kind for each service, and one of each kind for all.
type key struct {
	service string
	kind    score.Kind
}

func (f Force) key() key { return key{f.Service, f.Kind} }

// Cleaned returns the force as stored: texts as one printable line of limited length, times in UTC.
func (f Force) Cleaned() Force {
	f.Reason = sanitize.Line(f.Reason, recordstore.MaxReason)
	f.Who = sanitize.Line(f.Who, recordstore.MaxWho)
	f.At = f.At.UTC().Round(0)
	if !f.Expires.IsZero() {
		f.Expires = f.Expires.UTC().Round(0)
	}
	if f.Kind != score.Health {
		f.Value = 0
	}
	return f
}

// validate says why a force is invalid.
func (f Force) validate() error {
	switch {
	case !f.Kind.Valid():
		return fmt.Errorf("%w: kind %q is not down, up or health", ErrInvalid, sanitize.Line(string(f.Kind), 40))
	case f.Kind == score.Health && (f.Value < 0 || f.Value > score.Max):
		return fmt.Errorf("%w: health %d is outside 0 to 100", ErrInvalid, f.Value)
	case len(f.Service) > maxService:
		return fmt.Errorf("%w: the service's name is longer than %d bytes", ErrInvalid, maxService)
	case !utf8.ValidString(f.Service):
		return fmt.Errorf("%w: the service's name is not valid UTF-8", ErrInvalid)
	}
	return nil
}

// checked validates the force and returns it as stored.
func (f Force) checked() (Force, error) {
	if err := f.validate(); err != nil {
		return Force{}, err
	}
	return f.Cleaned(), nil
}

// ParseDuration reads how long a force lasts: a duration such as 90m or 1h30m, or whole days such as 3d.
func ParseDuration(s string) (time.Duration, error) {
	d, err := recordstore.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return d, nil
}

// Report converts the force to JSON.
func (f Force) Report() api.Force {
	r := api.Force{Kind: string(f.Kind), All: f.Service == "", Reason: f.Reason, Who: f.Who, At: f.At, Expires: f.Expires}
	if f.Kind == score.Health {
		r.Value = &f.Value
	}
	return r
}
