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

// descriptors lists the open ones of this process by what they stand for.
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
			continue // the one that the folder was read with
		}
		open = append(open, e.Name()+" "+to)
	}
	return open
}

// processes finds what this process or any of its descendants started, wherever it is now: by what stands in its environment.
// One that has ended and was not waited for has none; this process's own children are told by their parent.
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
		// What cannot be read has just ended, or is somebody else's.
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

// resident is the memory that the kernel counts for this process.
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
