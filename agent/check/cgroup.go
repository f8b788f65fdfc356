package check

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/prometheus/procfs"
)

// A process is subject to the limits of its cgroup and of every parent. They are read from cgroup v2
// (Documentation/admin-guide/cgroup-v2.rst in the kernel source). Limits of cgroup v1 are ignored.

// cgroupDirs lists the folders of this process's cgroup and its parents, innermost first.
func cgroupDirs(h Host) ([]string, error) {
	pfs, err := procfs.NewFS(h.Proc)
	if err != nil {
		return nil, fmt.Errorf("find the cgroup: %w", err)
	}
	self, err := pfs.Self()
	if err != nil {
		return nil, fmt.Errorf("find the cgroup: %w", err)
	}
	groups, err := self.Cgroups()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // a kernel without cgroups
	}
	if err != nil {
		return nil, fmt.Errorf("find the cgroup: %w", err)
	}
	for _, g := range groups {
		if g.HierarchyID != 0 {
			continue // cgroup v1
		}
		var dirs []string
		for p := path.Clean("/" + g.Path); ; p = path.Dir(p) {
			dirs = append(dirs, filepath.Join(h.Cgroup, p))
			if p == "/" {
				return dirs, nil
			}
		}
	}
	return nil, nil
}

// readLimit reads a small file of a cgroup. The root, and a cgroup whose controller is disabled, have no such file.
func readLimit(dir, name string) (data string, ok bool, err error) {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("read the cgroup's limit: %w", err)
	}
	return string(b), true, nil
}

// cgroupCores is the processor time that the cgroups grant, in cores. limited is false if none of them sets a limit.
func cgroupCores(h Host) (cores float64, limited bool, err error) {
	dirs, err := cgroupDirs(h)
	if err != nil {
		return 0, false, err
	}
	for _, dir := range dirs {
		data, ok, err := readLimit(dir, "cpu.max")
		if err != nil {
			return 0, false, err
		}
		if !ok {
			continue
		}
		granted, isLimit, err := parseCPUMax(data)
		if err != nil {
			return 0, false, fmt.Errorf("%s/cpu.max: %w", dir, err)
		}
		if isLimit && (!limited || granted < cores) {
			cores, limited = granted, true
		}
	}
	return cores, limited, nil
}

// parseCPUMax reads "QUOTA PERIOD" in microseconds, or "max PERIOD" for no limit.
func parseCPUMax(data string) (cores float64, limited bool, err error) {
	fields := strings.Fields(data)
	if len(fields) != 2 {
		return 0, false, fmt.Errorf("want a quota and a period, got %q", data)
	}
	period, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil || period == 0 {
		return 0, false, fmt.Errorf("bad period %q", fields[1])
	}
	if fields[0] == "max" {
		return 0, false, nil
	}
	quota, err := strconv.ParseUint(fields[0], 10, 64)
	if err != nil || quota == 0 {
		return 0, false, fmt.Errorf("bad quota %q", fields[0])
	}
	return float64(quota) / float64(period), true, nil
}

// cgroupMemory reads the memory of every cgroup that sets a limit.
func cgroupMemory(h Host) ([]memory, error) {
	dirs, err := cgroupDirs(h)
	if err != nil {
		return nil, err
	}
	var limits []memory
	for _, dir := range dirs {
		m, limited, err := getCgroupMemory(dir)
		if err != nil {
			return nil, err
		}
		if limited {
			limits = append(limits, m)
		}
	}
	return limits, nil
}

// getCgroupMemory reads a cgroup's limit and usage. Inactive file cache counts as available: the kernel drops
// it before it refuses memory.
func getCgroupMemory(dir string) (m memory, limited bool, err error) {
	data, ok, err := readLimit(dir, "memory.max")
	if err != nil || !ok || strings.TrimSpace(data) == "max" {
		return memory{}, false, err
	}
	limit, err := parseBytes(data)
	if err != nil {
		return memory{}, false, fmt.Errorf("%s/memory.max: %w", dir, err)
	}
	data, ok, err = readLimit(dir, "memory.current")
	if err != nil || !ok {
		return memory{}, false, err
	}
	used, err := parseBytes(data)
	if err != nil {
		return memory{}, false, fmt.Errorf("%s/memory.current: %w", dir, err)
	}
	data, _, err = readLimit(dir, "memory.stat")
	if err != nil {
		return memory{}, false, err
	}
	used -= min(used, parseInactiveFile(data))
	return memory{total: limit, available: limit - min(limit, used)}, true, nil
}

// parseBytes reads a number of bytes.
func parseBytes(data string) (uint64, error) {
	return strconv.ParseUint(strings.TrimSpace(data), 10, 64)
}

// parseInactiveFile finds the bytes of inactive file cache in memory.stat, 0 if the line is missing.
func parseInactiveFile(data string) uint64 {
	lines := bufio.NewScanner(bytes.NewReader([]byte(data)))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if name != "inactive_file" {
			continue
		}
		n, err := parseBytes(value)
		if err != nil {
			return 0
		}
		return n
	}
	return 0
}
