package check

import (
	"context"
	"fmt"

	"github.com/prometheus/procfs"

	"github.com/braintree/lb/config"
)

// cpuLoad is a metric that falls with the load average of the last minute: weight − weight·load/cores, where cores are
// what the machine has and the cgroup grants. It has no options of its own.
type cpuLoad struct {
	loadFloor
	weight int
	host   Host
}

func newCPULoad(c config.Check, h Host) Check { return cpuLoad{weight: c.Weight, host: h} }

func (m cpuLoad) Run(context.Context) Result {
	load, cores, err := getLoad(m.host)
	if err != nil {
		return bad("%v", err)
	}
	r := measured(loadPoints(load, cores, m.weight), m.weight, "load %.2f on %.4g cores", load, cores)
	r.Samples = []Sample{{Name: "cpu_load_average", Value: load}}
	return r
}

func (m cpuLoad) Display() string { return fmt.Sprintf("Metric::CPULoad(%d)", m.weight) }

// getLoad reads the load average of the last minute and the number of cores that this process may use.
func getLoad(h Host) (load, cores float64, err error) {
	fs, err := procfs.NewFS(h.Proc)
	if err != nil {
		return 0, 0, fmt.Errorf("read the load: %w", err)
	}
	avg, err := fs.LoadAvg()
	if err != nil {
		return 0, 0, fmt.Errorf("read the load: %w", err)
	}
	stat, err := fs.Stat()
	if err != nil {
		return 0, 0, fmt.Errorf("count the cores: %w", err)
	}
	cores = float64(len(stat.CPU))
	if cores == 0 {
		return 0, 0, fmt.Errorf("count the cores: %s/stat lists none", h.Proc)
	}
	granted, limited, err := cgroupCores(h)
	if err != nil {
		return 0, 0, err
	}
	if limited {
		cores = min(cores, granted)
	}
	return avg.Load1, cores, nil
}

// loadPoints is litmus_paper's formula, with its floor of 1 left to the score.
func loadPoints(load, cores float64, weight int) float64 {
	w := float64(weight)
	return w - w*load/cores
}
