package kernel

import (
	"errors"
	"log/slog"
	"time"

	"github.com/braintree/lb/netx/ipvs"
)

// settingsInterval is the time between two reads of the settings: the kernel does not report all of their changes.
const settingsInterval = 10 * time.Second

// Settings reconciles the kernel's settings (sysctls) that lb relies on. Unless it may set them, it reports those that are unsafe.
type Settings struct {
	dir ipvs.SysctlDir
	log *slog.Logger
	set bool // unsafe settings

	use    ipvs.Features     // at the last read
	last   time.Time         // of the last read; zero: the next Reconcile reads
	values map[string]string // as last seen, or why a setting cannot be read
	wrong  []ipvs.Sysctl     // at the last read
	err    string            // of the last Reconcile; "": none
	errors int
}

// NewSettings returns settings that have not been read, below a folder.
func NewSettings(dir ipvs.SysctlDir, log *slog.Logger) *Settings {
	return &Settings{dir: dir, log: log, values: map[string]string{}}
}

// MaySet lets Reconcile set unsafe settings.
func (s *Settings) MaySet(set bool) {
	if s != nil {
		s.set = set
	}
}

// Expire makes the next Reconcile read the settings.
func (s *Settings) Expire() {
	if s != nil {
		s.last = time.Time{}
	}
}

// Reconcile reads the settings if that is due, sets the unsafe ones if it may, and returns what it set. An unsafe setting never keeps lb
// from starting.
func (s *Settings) Reconcile(now time.Time, use ipvs.Features) []Change {
	if s == nil || use == s.use && !s.last.IsZero() && now.Sub(s.last) < settingsInterval {
		return nil
	}
	s.use, s.last, s.wrong = use, now, nil
	var changes []Change
	var failed []error
	for _, want := range ipvs.RecommendedSysctls(use) {
		change, err := s.reconcile(want)
		changes, failed = append(changes, change...), append(failed, err)
	}
	s.err = text(errors.Join(failed...))
	if s.err != "" {
		s.errors++
	}
	return changes
}

func (s *Settings) reconcile(want ipvs.Sysctl) ([]Change, error) {
	value, err := s.dir.Get(want.Name)
	before, seen := s.values[want.Name]
	if err != nil {
		value = err.Error()
	}
	s.values[want.Name] = value
	switch {
	case err != nil:
		if value != before {
			s.log.Warn("cannot check a kernel setting", "setting", want.Name, "err", err)
		}
		return nil, nil
	case value == want.Value:
		return nil, nil
	case !s.set:
		if value != before {
			s.log.Warn("unsafe kernel setting: "+want.Why+": set it with `sysctl -w "+want.Name+"="+want.Value+
				"`, or let lb set it with balancer.set_sysctls = true", "setting", want.Name, "value", value)
		}
		s.wrong = append(s.wrong, want)
		return nil, nil
	}
	if err := s.dir.Set(want.Name, want.Value); err != nil {
		s.wrong = append(s.wrong, want)
		return nil, err
	}
	s.values[want.Name] = want.Value
	return []Change{{Resource: KernelSettings, Text: want.Name + " " + value + " → " + want.Value + ": otherwise " + want.Why,
		Drift: seen && before == want.Value}}, nil
}

// Wrong returns the settings that were unsafe at the last read, and still are.
func (s *Settings) Wrong() []ipvs.Sysctl {
	if s == nil {
		return nil
	}
	return s.wrong
}

// Err is the error of the last Reconcile; "" if it succeeded.
func (s *Settings) Err() string {
	if s == nil {
		return ""
	}
	return s.err
}

// count counts failed Reconciles.
func (s *Settings) count() int {
	if s == nil {
		return 0
	}
	return s.errors
}
