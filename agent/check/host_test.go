package check

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// machine is a fake machine: its files in /proc and its cgroup tree.
type machine struct {
	cores   int
	load    string
	meminfo string            // "" is 8 GiB with half of it available
	cgroup  string            // of the process: lines of /proc/self/cgroup
	limits  map[string]string // files in the cgroup tree and their contents
}

func (m machine) build(t *testing.T) Host {
	t.Helper()
	root := t.TempDir()
	h := Host{Proc: filepath.Join(root, "proc"), Cgroup: filepath.Join(root, "cgroup")}
	write := func(name, data string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	stat := "cpu  1 2 3 4 5 6 7 8 9 10\n"
	for i := range m.cores {
		stat += fmt.Sprintf("cpu%d 1 2 3 4 5 6 7 8 9 10\n", i)
	}
	if m.meminfo == "" {
		m.meminfo = "MemTotal:        8388608 kB\nMemFree:          100000 kB\nMemAvailable:    4194304 kB\n"
	}
	write(filepath.Join(h.Proc, "stat"), stat)
	write(filepath.Join(h.Proc, "loadavg"), m.load)
	write(filepath.Join(h.Proc, "meminfo"), m.meminfo)
	write(filepath.Join(h.Proc, "42", "cgroup"), m.cgroup)
	if err := os.Symlink("42", filepath.Join(h.Proc, "self")); err != nil {
		t.Fatal(err)
	}
	write(filepath.Join(h.Cgroup, "cgroup.controllers"), "cpu memory\n")
	for name, data := range m.limits {
		write(filepath.Join(h.Cgroup, name), data)
	}
	return h
}

func TestCPULoad(t *testing.T) {
	const idle = "0.00 0.10 0.20 1/100 4242\n"
	for _, tc := range []struct {
		name   string
		m      machine
		weight int
		ok     bool
		value  float64
		reason string
	}{
		{"idle", machine{cores: 4, load: idle, cgroup: "0::/\n"}, 50, true, 50, "load 0.00 on 4 cores"},
		{"a quarter busy", machine{cores: 4, load: "1.00 0 0 1/100 4242\n", cgroup: "0::/\n"}, 50, true, 37.5, "load 1.00 on 4 cores"},
		{"overloaded", machine{cores: 4, load: "9.00 0 0 1/100 4242\n", cgroup: "0::/\n"}, 50, true, 0, "load 9.00"},
		{"the cgroup grants less", machine{cores: 4, load: "1.00 0 0 1/100 4242\n", cgroup: "0::/app/web\n",
			limits: map[string]string{"app/web/cpu.max": "150000 100000\n"}}, 60, true, 20, "on 1.5 cores"},
		{"the lowest limit of all levels counts", machine{cores: 8, load: "1.00 0 0 1/100 4242\n", cgroup: "0::/app/web\n",
			limits: map[string]string{"app/web/cpu.max": "max 100000\n", "app/cpu.max": "200000 100000\n",
				"cpu.max": "400000 100000"}}, 100, true, 50, "on 2 cores"},
		{"also if it is a parent's", machine{cores: 8, load: "1.00 0 0 1/100 4242\n", cgroup: "0::/app/web\n",
			limits: map[string]string{"app/web/cpu.max": "400000 100000\n",
				"app/cpu.max": "200000 100000\n"}}, 100, true, 50, "on 2 cores"},
		{"a quota of 0", machine{cores: 2, load: idle, cgroup: "0::/\n", limits: map[string]string{"cpu.max": "0 100000\n"}}, 100,
			false, 0, "bad quota"},
		{"a period of 0", machine{cores: 2, load: idle, cgroup: "0::/\n", limits: map[string]string{"cpu.max": "100000 0\n"}}, 100,
			false, 0, "bad period"},
		{"a limit above the machine", machine{cores: 2, load: "1.00 0 0 1/100 4242\n", cgroup: "0::/app\n",
			limits: map[string]string{"app/cpu.max": "800000 100000\n"}}, 100, true, 50, "on 2 cores"},
		{"cgroup v1 is ignored", machine{cores: 2, load: "1.00 0 0 1/100 4242\n", cgroup: "4:memory:/x\n1:cpu:/x\n",
			limits: map[string]string{"x/cpu.max": "1 1\n"}}, 100, true, 50, "on 2 cores"},
		{"a broken cpu.max", machine{cores: 2, load: idle, cgroup: "0::/\n", limits: map[string]string{"cpu.max": "lots\n"}}, 100,
			false, 0, "cpu.max: want a quota"},
		{"no load", machine{cores: 2, load: "", cgroup: "0::/\n"}, 100, false, 0, "read the load"},
		{"no cores", machine{cores: 0, load: idle, cgroup: "0::/\n"}, 100, false, 0, "count the cores"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := run(t, metric("cpu_load", tc.weight, nil), tc.m.build(t))
			want(t, r, tc.ok, tc.reason)
			if math.Abs(r.Value-tc.value) > 1e-9 {
				t.Errorf("value %v, want %v", r.Value, tc.value)
			}
			if tc.ok && (len(r.Samples) != 1 || r.Samples[0].Name != "cpu_load_average") {
				t.Errorf("samples %v", r.Samples)
			}
		})
	}
	if f := build(t, metric("cpu_load", 50, nil), Host{}).Floor(); f != 1 {
		t.Errorf("floor %d, want 1", f)
	}
}

func TestAvailableMemory(t *testing.T) {
	const gib = 1 << 30
	limit := func(group string, most, current, inactive int) map[string]string {
		return map[string]string{
			group + "/memory.max":     fmt.Sprintln(most),
			group + "/memory.current": fmt.Sprintln(current),
			group + "/memory.stat":    fmt.Sprintf("anon 1\ninactive_file %d\nactive_file 3\n", inactive),
		}
	}
	for _, tc := range []struct {
		name   string
		m      machine
		ok     bool
		value  float64
		reason string
	}{
		{"of the machine", machine{cgroup: "0::/\n"}, true, 50, "4096 of 8192 MiB available"},
		{"the cgroup has less", machine{cgroup: "0::/app\n", limits: limit("app", 2*gib, 2*gib, gib/2)}, true, 25, "512 of 2048 MiB"},
		{"the cgroup has a larger share", machine{cgroup: "0::/app\n", limits: limit("app", 2*gib, gib/2, 0)}, true, 50, "4096 of 8192"},
		{"the cgroup is above its limit, which is possible for a moment",
			machine{cgroup: "0::/app\n", limits: limit("app", 2*gib, 2*gib+1, 0)}, true, 0, "0 of 2048 MiB"},
		{"more file cache than memory, because counters lag", machine{cgroup: "0::/app\n", limits: limit("app", 2*gib, gib/2, gib)},
			true, 50, "4096 of 8192"},
		{"a limit above the machine", machine{cgroup: "0::/app\n", limits: limit("app", 16*gib, 16*gib, 0)}, true, 50, "4096 of 8192"},
		{"a limit of a parent", machine{cgroup: "0::/app/web\n", limits: limit("app", gib, gib, 0)}, true, 0, "0 of 1024 MiB"},
		{"no limit", machine{cgroup: "0::/app\n", limits: map[string]string{"app/memory.max": "max\n"}}, true, 50, ""},
		{"a broken limit", machine{cgroup: "0::/app\n", limits: map[string]string{"app/memory.max": "?\n"}}, false, 0, "memory.max"},
		{"an old kernel", machine{cgroup: "0::/\n", meminfo: "MemTotal: 8388608 kB\n"}, false, 0, "MemAvailable"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.m.cores, tc.m.load = 1, "0 0 0 1/1 1\n"
			r := run(t, metric("available_memory", 100, nil), tc.m.build(t))
			want(t, r, tc.ok, tc.reason)
			if math.Abs(r.Value-tc.value) > 1e-9 {
				t.Errorf("value %v, want %v", r.Value, tc.value)
			}
		})
	}
}

func TestTheChecksMeasureThisMachine(t *testing.T) {
	for _, typ := range []string{"cpu_load", "available_memory"} {
		if r := run(t, metric(typ, 50, nil), Host{}); !r.OK || r.Value < 0 || r.Value > 50 {
			t.Errorf("%s: %+v", typ, r)
		}
	}
}

func FuzzParseCPUMax(f *testing.F) {
	f.Add("max 100000\n")
	f.Add("150000 100000\n")
	f.Fuzz(func(t *testing.T, data string) {
		cores, limited, err := parseCPUMax(data)
		if err == nil && limited && !(cores > 0) {
			t.Errorf("parseCPUMax(%q) = %v", data, cores)
		}
	})
}

func FuzzParseInactiveFile(f *testing.F) {
	f.Add("anon 1\ninactive_file 42\n")
	f.Fuzz(func(t *testing.T, data string) {
		if n := parseInactiveFile(data); n > 0 && !strings.Contains(data, "inactive_file") {
			t.Errorf("parseInactiveFile(%q) = %d", data, n)
		}
	})
}
