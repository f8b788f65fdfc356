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

// unitName is a full name of a unit of systemd (man 5 systemd.unit).
var unitName = regexp.MustCompile(`^[A-Za-z0-9:_.\\@-]{1,240}\.(service|socket|device|mount|automount|swap|target|path|timer|slice|scope)$`)

// systemdUnit is a dependency on a unit of systemd that is active, or active and reloading its configuration.
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
		c.Options.Invalid("unit", "is no name of a unit", fix)
	}
	return s
}

func (s systemdUnit) Run(ctx context.Context) Result {
	state, err := getUnit(ctx, s.unit)
	if err != nil {
		return bad("%v", reason(ctx, err, s.timeout))
	}
	return state.judge()
}

// unitState is what systemd tells of a unit.
type unitState struct {
	load, active, sub string // LoadState, ActiveState, SubState
}

// getUnit asks systemd over D-Bus.
func getUnit(ctx context.Context, unit string) (unitState, error) {
	if err := ctx.Err(); err != nil {
		return unitState{}, err
	}
	conn, err := dbus.NewWithContext(ctx)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		return unitState{}, fmt.Errorf("there is no D-Bus on this machine, or no systemd behind it: use a script or another check here (%w)", err)
	}
	if err != nil {
		return unitState{}, fmt.Errorf("reach systemd over D-Bus: %w", err)
	}
	defer conn.Close()
	properties, err := conn.GetUnitPropertiesContext(ctx, unit)
	if err != nil {
		return unitState{}, fmt.Errorf("ask systemd: %w", err)
	}
	return parseUnitState(properties)
}

// parseUnitState reads the properties of a unit (org.freedesktop.systemd1.Unit, man 5 org.freedesktop.systemd1).
func parseUnitState(properties map[string]any) (unitState, error) {
	var s unitState
	for name, to := range map[string]*string{"LoadState": &s.load, "ActiveState": &s.active, "SubState": &s.sub} {
		value, isText := properties[name].(string)
		if !isText {
			return unitState{}, fmt.Errorf("systemd does not tell the unit's %s", name)
		}
		*to = value
	}
	return s, nil
}

func (s unitState) judge() Result {
	switch {
	case s.active == "active", s.active == "reloading":
		return good("%s (%s)", s.active, s.sub)
	case s.load == "not-found":
		return bad("systemd has no such unit")
	case s.load != "loaded":
		return bad("%s (%s), and its unit file is %s", s.active, s.sub, s.load)
	}
	return bad("%s (%s)", s.active, s.sub)
}

func (s systemdUnit) Display() string { return fmt.Sprintf("Dependency::SystemdUnit(%s)", s.unit) }
