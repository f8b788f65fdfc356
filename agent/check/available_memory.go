package check

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/procfs"

	"github.com/braintree/lb/config"
)

// availableMemory is a metric that falls with the memory in use: weight·available/total of the machine or of
// the cgroup, whichever has the smaller share available. It has no options of its own.
type availableMemory struct {
	loadFloor
	onlyReads
	weight int
	host   Host
}

func newAvailableMemory(c config.Check, h Host) Check {
	return availableMemory{weight: c.Weight, host: h}
}

func (m availableMemory) Run(context.Context) Result {
	mem, err := m.host.memory()
	if err != nil {
		return failed("%v", err)
	}
	return measured(float64(m.weight)*mem.share(), m.weight, "%d of %d MiB available", mem.available>>20, mem.total>>20)
}

func (m availableMemory) Display() string {
	return fmt.Sprintf("Metric::AvailableMemory(%d)", m.weight)
}

// memory is available and total memory in bytes.
type memory struct {
	available, total uint64
}

// share is the available share, 0 to 1.
func (m memory) share() float64 {
	if m.total == 0 {
		return 0
	}
	return min(1, float64(m.available)/float64(m.total))
}

// memory returns the current memory, up to a second old if the host is shared.
func (h Host) memory() (memory, error) {
	if h.shared == nil {
		return getMemory(h)
	}
	return h.shared.memory.get(func() (memory, error) { return getMemory(h) })
}

// getMemory reads the memory of the machine, or of the cgroup if its limit leaves a smaller share.
func getMemory(h Host) (memory, error) {
	fs, err := procfs.NewFS(h.Proc)
	if err != nil {
		return memory{}, fmt.Errorf("read the memory usage: %w", err)
	}
	info, err := fs.Meminfo()
	if err != nil {
		return memory{}, fmt.Errorf("read the memory usage: %w", err)
	}
	if info.MemAvailableBytes == nil || info.MemTotalBytes == nil || *info.MemTotalBytes == 0 {
		return memory{}, errors.New("read the memory usage: the kernel reports no MemAvailable or MemTotal (Linux 3.14 and later do)")
	}
	smallest := memory{available: *info.MemAvailableBytes, total: *info.MemTotalBytes}
	limits, err := cgroupMemory(h)
	if err != nil {
		return memory{}, err
	}
	for _, m := range limits {
		if m.total < *info.MemTotalBytes && m.share() < smallest.share() {
			smallest = m
		}
	}
	return smallest, nil
}
