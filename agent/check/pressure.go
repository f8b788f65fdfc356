package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/sanitize"
)

// pressure is a metric that falls with the time that tasks stall on a resource (PSI,
// Documentation/accounting/psi.rst in the kernel source): weight − weight·p/worst, where p is the percentage
// of the last ten seconds in which some task was stalled.
type pressure struct {
	loadFloor
	onlyReads
	resource string  // cpu, memory or io
	cgroup   string  // path in the cgroup v2 tree, starting with "/"; "" is the whole machine
	worst    float64 // percentage at which the metric reaches its minimum
	weight   int
	host     Host
}

func newPressure(c config.Check, h Host) Check {
	o := c.Options
	m := pressure{resource: o.String("resource", ""), cgroup: o.String("cgroup", ""), worst: o.Float("worst", 100), weight: c.Weight,
		host: h}
	if !slices.Contains([]string{"cpu", "memory", "io"}, m.resource) {
		problem := "is missing"
		if m.resource != "" {
			problem = fmt.Sprintf("%q is not a resource with pressure information", sanitize.Line(m.resource, 40))
		}
		o.Invalid("resource", problem, `use "cpu", "memory" or "io"`)
	}
	if o.Has("cgroup") && (badPath(m.cgroup) != "" || path.Clean(m.cgroup) != m.cgroup) {
		o.Invalid("cgroup", "is not a path in the cgroup tree",
			`give one such as "/system.slice/webapp.service", or omit it for the whole machine`)
	}
	if m.worst <= 0 || m.worst > 100 {
		o.Invalid("worst", "must be above 0 and at most 100",
			"give the pressure, in percent of the time, at which the metric reaches its minimum")
	}
	return m
}

func (m pressure) Run(context.Context) Result {
	some, err := getPressure(m.file())
	if err != nil {
		return failed("%v", err)
	}
	r := measured(pressurePoints(some, m.worst, m.weight), m.weight, "tasks stalled on %s for %.4g %% of the last 10 s", m.resource, some)
	r.Samples = []Sample{{Name: "pressure_" + m.resource + "_some_avg10", Value: some}}
	return r
}

// file is where the kernel reports the pressure.
func (m pressure) file() string {
	if m.cgroup == "" {
		return filepath.Join(m.host.Proc, "pressure", m.resource)
	}
	return filepath.Join(m.host.Cgroup, m.cgroup, m.resource+".pressure")
}

// getPressure reads the percentage of the last ten seconds in which some task was stalled.
func getPressure(file string) (float64, error) {
	data, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, fmt.Errorf("read the pressure: %w: there is no such cgroup (v2), "+
			"or the kernel does not measure pressure (boot it with psi=1)", err)
	case errors.Is(err, unix.EOPNOTSUPP):
		return 0, fmt.Errorf("read the pressure: %w: boot the kernel with psi=1, or write 1 to the cgroup's cgroup.pressure", err)
	case err != nil:
		return 0, fmt.Errorf("read the pressure: %w", err)
	}
	some, err := parsePressure(string(data))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", file, err)
	}
	return some, nil
}

// parsePressure finds avg10 in the line that begins with "some". Package procfs reads the same format, but
// only for the whole machine.
func parsePressure(data string) (float64, error) {
	for line := range strings.Lines(data) {
		rest, found := strings.CutPrefix(line, "some ")
		if !found {
			continue
		}
		for _, field := range strings.Fields(rest) {
			value, found := strings.CutPrefix(field, "avg10=")
			if !found {
				continue
			}
			some, err := strconv.ParseFloat(value, 64)
			if err != nil || !(some >= 0 && some <= 100) {
				return 0, fmt.Errorf("avg10 is %q, not a percentage", sanitize.Line(value, 40))
			}
			return some, nil
		}
	}
	return 0, errors.New(`no line has "some avg10="`)
}

// pressurePoints falls linearly from the full weight without pressure to 0 at worst.
func pressurePoints(some, worst float64, weight int) float64 {
	w := float64(weight)
	return w - w*some/worst
}

func (m pressure) Display() string {
	if m.cgroup == "" {
		return fmt.Sprintf("Metric::Pressure(%s, %d)", m.resource, m.weight)
	}
	return fmt.Sprintf("Metric::Pressure(%s, %s, %d)", m.resource, m.cgroup, m.weight)
}
