//go:build soak

package soak

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// descriptors lists the open file descriptors of this process with their targets.
func descriptors(t *testing.T) []string {
	t.Helper()
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var open []string
	for _, e := range entries {
		to, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil {
			continue // the descriptor of the folder itself
		}
		open = append(open, e.Name()+" "+to)
	}
	return open
}

// processes finds the descendants of this process by a variable in their environment, even if their parents
// have ended. A zombie has no environment; those of this process are found by their parent.
func processes(t *testing.T) map[int]string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	wanted := []byte(mark + "=" + os.Getenv(mark))
	found := map[int]string{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		// A process whose files cannot be read has just ended or belongs to another user.
		environment, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		status, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "status"))
		mine := strings.Contains(string(status), "\nPPid:\t"+strconv.Itoa(os.Getpid())+"\n")
		if !mine && !bytes.Contains(environment, wanted) {
			continue
		}
		line, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		found[pid] = e.Name() + " " + string(bytes.ReplaceAll(line, []byte{0}, []byte{' '}))
	}
	return found
}

// resident is the resident memory of this process in bytes.
func resident(t *testing.T) uint64 {
	t.Helper()
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(data))
	if len(fields) < 2 {
		t.Fatalf("/proc/self/statm: %q", data)
	}
	pages, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * uint64(os.Getpagesize())
}

func installed(tool string) bool {
	_, err := exec.LookPath(tool)
	return err == nil
}
