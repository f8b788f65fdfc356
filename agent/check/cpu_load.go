package check

import (
	"context"
	"fmt"

	"github.com/prometheus/procfs"

	"github.com/braintree/lb/config"
)

// cpuLoad is a metric that falls with the load average of the last minute: weight − weight·load/cores, where
// cores are those of the machine or, if fewer, those that the cgroup grants. It has no options of its own.
type cpuLoad struct {
	loadFloor
	onlyReads
	weight int
	host   Host
}

func newCPULoad(c config.Check, h Host) Check { return cpuLoad{weight: c.Weight, host: h} }

func (m cpuLoad) Run(context.Context) Result {
	now, err := m.host.load()
	if err != nil {
		return failed("%v", err)
	}
	r := measured(now.points(m.weight), m.weight, "load %.2f on %.4g cores", now.average, now.cores)
	r.Samples = []Sample{{Name: "cpu_load_average", Value: now.average}}
	return r
}

func (m cpuLoad) Display() string { return fmt.Sprintf("Metric::CPULoad(%d)", m.weight) }

// load is the demand for processor time and its supply.
type load struct {
	average float64 // running and waiting tasks, averaged over the last minute
	cores   float64 // that this process can use
}

// points is litmus_paper's formula without its floor of 1, which package score applies.
func (l load) points(weight int) float64 {
	w := float64(weight)
	return w - w*l.average/l.cores
}

// load returns the current load, up to a second old if the host is shared.
func (h Host) load() (load, error) {
	if h.shared == nil {
		return getLoad(h)
	}
	return h.shared.load.get(func() (load, error) { return getLoad(h) })
}

// getLoad reads the load average of the last minute and the number of cores that this process can use.
func getLoad(h Host) (load, error) {
	fs, err := procfs.NewFS(h.Proc)
	if err != nil {
		return load{}, fmt.Errorf("read the load: %w", err)
	}
	avg, err := fs.LoadAvg()
	if err != nil {
		return load{}, fmt.Errorf("read the load: %w", err)
	}
	stat, err := fs.Stat()
	if err != nil {
		return load{}, fmt.Errorf("count the cores: %w", err)
	}
	l := load{average: avg.Load1, cores: float64(len(stat.CPU))}
	if l.cores == 0 {
		return load{}, fmt.Errorf("count the cores: %s/stat lists none", h.Proc)
	}
	granted, limited, err := cgroupCores(h)
	if err != nil {
		return load{}, err
	}
	if limited {
		l.cores = min(l.cores, granted)
	}
	return l, nil
}
