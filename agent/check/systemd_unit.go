package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	"golang.org/x/sys/unix"

	"github.com/braintree/lb/config"
)

// unitName is the full name of a systemd unit (man 5 systemd.unit).
var unitName = regexp.MustCompile(`^[A-Za-z0-9:_.\\@-]{1,240}\.(service|socket|device|mount|automount|swap|target|path|timer|slice|scope)$`)

// systemdUnit is a dependency on a systemd unit that is active or reloading.
type systemdUnit struct {
	noFloor
	unit    string
	timeout time.Duration
}

func newSystemdUnit(c config.Check, _ Host) Check {
	s := systemdUnit{unit: c.Options.String("unit", ""), timeout: c.Timeout}
	const fix = `give its full name, such as "postgresql.service"`
	if s.unit == "" {
		c.Options.Invalid("unit", "is missing", fix)
	} else if !unitName.MatchString(s.unit) {
		c.Options.Invalid("unit", "is not a unit name", fix)
	}
	return s
}

func (s systemdUnit) Run(ctx context.Context) Result {
	state, err := getUnit(ctx, s.unit)
	if err != nil {
		return failed("%v", reason(ctx, err, s.timeout))
	}
	return state.result()
}

// unitState is the state of a unit as systemd reports it.
type unitState struct {
	load, active, sub string // LoadState, ActiveState, SubState
}

// getUnit queries systemd over D-Bus.
func getUnit(ctx context.Context, unit string) (unitState, error) {
	if err := ctx.Err(); err != nil {
		return unitState{}, err
	}
	conn, err := dbus.NewWithContext(ctx)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		return unitState{}, fmt.Errorf("systemd is not available over D-Bus on this machine: use a script or another check here (%w)", err)
	}
	if err != nil {
		return unitState{}, fmt.Errorf("connect to systemd over D-Bus: %w", err)
	}
	defer conn.Close()
	properties, err := conn.GetUnitPropertiesContext(ctx, unit)
	if err != nil {
		return unitState{}, fmt.Errorf("query systemd: %w", err)
	}
	return parseUnitState(properties)
}

// parseUnitState reads the properties of a unit (org.freedesktop.systemd1.Unit, man 5 org.freedesktop.systemd1).
func parseUnitState(properties map[string]any) (unitState, error) {
	var s unitState
	for name, to := range map[string]*string{"LoadState": &s.load, "ActiveState": &s.active, "SubState": &s.sub} {
		value, isString := properties[name].(string)
		if !isString {
			return unitState{}, fmt.Errorf("systemd does not report the unit's %s", name)
		}
		*to = value
	}
	return s, nil
}

func (s unitState) result() Result {
	switch {
	case s.active == "active", s.active == "reloading":
		return passed("%s (%s)", s.active, s.sub)
	case s.load == "not-found":
		return failed("systemd has no such unit")
	case s.load != "loaded":
		return failed("%s (%s), and its unit file is %s", s.active, s.sub, s.load)
	}
	return failed("%s (%s)", s.active, s.sub)
}

func (s systemdUnit) Display() string { return fmt.Sprintf("Dependency::SystemdUnit(%s)", s.unit) }
