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

// pressure is a metric that falls with the time that work waits for a resource (PSI, Documentation/accounting/psi.rst of the
// kernel): weight − weight·p/worst, where p is the share of the last ten seconds, in percent, in which some task waited.
type pressure struct {
	loadFloor
	onlyReads
	resource string  // cpu, memory or io
	cgroup   string  // "/…" below the cgroup v2 tree; "" is the whole machine
	worst    float64 // percent, from which on nothing but the floor is left
	weight   int
	host     Host
}

func newPressure(c config.Check, h Host) Check {
	o := c.Options
	m := pressure{resource: o.String("resource", ""), cgroup: o.String("cgroup", ""), worst: o.Float("worst", 100), weight: c.Weight, host: h}
	if !slices.Contains([]string{"cpu", "memory", "io"}, m.resource) {
		problem := "is missing"
		if m.resource != "" {
			problem = fmt.Sprintf("%q is none that the kernel measures", sanitize.Line(m.resource, 40))
		}
		o.Invalid("resource", problem, `use "cpu", "memory" or "io"`)
	}
	if o.Has("cgroup") && (badPath(m.cgroup) != "" || path.Clean(m.cgroup) != m.cgroup) {
		o.Invalid("cgroup", "is no path below the cgroup tree", `give one such as "/system.slice/webapp.service", or leave it out for the whole machine`)
	}
	if m.worst <= 0 || m.worst > 100 {
		o.Invalid("worst", "must be above 0, and 100 at most", "give the pressure, in percent of the time, at which the metric has fallen to its least")
	}
	return m
}

func (m pressure) Run(context.Context) Result {
	some, err := getPressure(m.file())
	if err != nil {
		return bad("%v", err)
	}
	r := measured(pressurePoints(some, m.worst, m.weight), m.weight, "some task waited for %s in %.4g %% of the last 10 s", m.resource, some)
	r.Samples = []Sample{{Name: "pressure_" + m.resource + "_some_avg10", Value: some}}
	return r
}

// file is where the kernel tells.
func (m pressure) file() string {
	if m.cgroup == "" {
		return filepath.Join(m.host.Proc, "pressure", m.resource)
	}
	return filepath.Join(m.host.Cgroup, m.cgroup, m.resource+".pressure")
}

// getPressure reads the share of the last ten seconds, in percent, in which some task waited.
func getPressure(file string) (float64, error) {
	data, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, fmt.Errorf("read the pressure: %w: there is no such cgroup (v2), or the kernel measures no pressure (boot it with psi=1)", err)
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

// parsePressure finds avg10 in the line that begins with "some". The file of a cgroup is written as that of the machine is, which
// is why procfs, which reads the latter only, is not used.
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
				return 0, fmt.Errorf("avg10 is %q, and no percentage", sanitize.Line(value, 40))
			}
			return some, nil
		}
	}
	return 0, errors.New(`it has no line with "some avg10="`)
}

// pressurePoints falls in a straight line from the whole weight without pressure to 0 at the worst.
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
