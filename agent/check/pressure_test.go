package check

import (
	"math"
	"os"
	"path/filepath"
	"testing"
)

func TestPressure(t *testing.T) {
	const calm = "some avg10=0.00 avg60=3.00 avg300=9.10 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
	root := t.TempDir()
	h := Host{Proc: filepath.Join(root, "proc"), Cgroup: filepath.Join(root, "cgroup")}
	for name, data := range map[string]string{
		"proc/pressure/cpu":    "some avg10=12.50 avg60=99.00 avg300=40.70 total=1\nfull avg10=88.00 avg60=0.00 avg300=0.00 total=0\n",
		"proc/pressure/memory": calm,
		"proc/pressure/io":     "full avg10=88.00 avg60=0.00 avg300=0.00 total=0\nsome avg10=50.00 avg60=0 avg300=0 total=0\n",
		"cgroup/system.slice/webapp.service/cpu.pressure": "some avg10=100.00 avg60=99.00 avg300=40.70 total=1\n",
		"cgroup/broken/cpu.pressure":                      "some avg10=many avg60=0 avg300=0 total=0\n",
		"cgroup/beyond/cpu.pressure":                      "some avg10=100.01 avg60=0 avg300=0 total=0\n",
		"cgroup/empty/cpu.pressure":                       "",
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name    string
		options map[string]any
		ok      bool
		value   float64
		reason  string
	}{
		{"an eighth of the time", map[string]any{"resource": "cpu"}, true, 70, "tasks stalled on cpu for 12.5 % of the last 10 s"},
		{"no pressure", map[string]any{"resource": "memory"}, true, 80, "stalled on memory for 0 %"},
		{"any order of the lines", map[string]any{"resource": "io"}, true, 40, "50 %"},
		{"half of worst", map[string]any{"resource": "cpu", "worst": 25}, true, 40, "12.5 %"},
		{"beyond worst", map[string]any{"resource": "cpu", "worst": 12.25}, true, 0, "12.5 %"},
		{"of a cgroup", map[string]any{"resource": "cpu", "cgroup": "/system.slice/webapp.service"}, true, 0, "100 %"},
		{"no such cgroup", map[string]any{"resource": "cpu", "cgroup": "/nope"}, false, 0, "no such cgroup"},
		{"not a number", map[string]any{"resource": "cpu", "cgroup": "/broken"}, false, 0, `cpu.pressure: avg10 is "many"`},
		{"more than 100 %", map[string]any{"resource": "cpu", "cgroup": "/beyond"}, false, 0, `avg10 is "100.01"`},
		{"an empty file", map[string]any{"resource": "cpu", "cgroup": "/empty"}, false, 0, "no line has"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := run(t, metric("pressure", 80, tc.options), h)
			want(t, r, tc.ok, tc.reason)
			if math.Abs(r.Value-tc.value) > 1e-9 {
				t.Errorf("value %v, want %v", r.Value, tc.value)
			}
			if tc.ok != (len(r.Samples) == 1) {
				t.Errorf("samples %v", r.Samples)
			}
		})
	}
	if f := build(t, metric("pressure", 50, map[string]any{"resource": "io"}), Host{}).Floor(); f != 1 {
		t.Errorf("floor %d, want 1", f)
	}
}

func FuzzParsePressure(f *testing.F) {
	f.Add("some avg10=10.54 avg60=23.13 avg300=40.70 total=1813715602\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n")
	f.Add("some avg10=NaN")
	f.Fuzz(func(t *testing.T, data string) {
		if some, err := parsePressure(data); err == nil && !(some >= 0 && some <= 100) {
			t.Errorf("parsePressure(%q) = %v", data, some)
		}
	})
}
