//go:build lab

package lab_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/braintree/lb/netx/lab"
)

// mark is a length of sleep that shows which processes are of the killed owner's hosts.
const sleepSeconds = "987654"

// nobody has the owner drop its privilege first.
const nobody = "nobody"

// own builds two hosts, starts a process with a child in a session of its own on each, says so, and waits to be killed.
func runOwner(user string) error {
	if user == nobody {
		if err := syscall.Setuid(65534); err != nil {
			return err
		}
	}
	l, err := lab.New(slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	s, err := l.Switch("lan")
	if err != nil {
		return err
	}
	for i, name := range []string{"one", "two"} {
		address := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, 0, byte(i + 1)}), 24)
		h, err := l.Host(name, lab.Link{Switch: s, Interface: "eth0", Addresses: []netip.Prefix{address}})
		if err != nil {
			return err
		}
		if err := startProcesses(h); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	select {}
}

// ownProcesses starts a process and its child on the host and prints the host's network namespace.
func startProcesses(h *lab.Host) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	script := "setsid sleep " + sleepSeconds + " & echo started; exec sleep " + sleepSeconds
	if _, err := h.Start(lab.Command{Path: "sh", Stdout: w, Args: []string{"-c", script}}); err != nil {
		return err
	}
	if _, err := r.Read(make([]byte, 8)); err != nil {
		return err
	}
	ns, err := h.Run(context.Background(), "readlink", "/proc/self/ns/net")
	fmt.Print(ns)
	return err
}

// marked lists the processes that sleep for mark.
func sleepingProcesses(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range files {
		line, err := os.ReadFile(f)
		if err == nil && string(line) == "sleep\x00"+sleepSeconds+"\x00" {
			found = append(found, f)
		}
	}
	return found
}

// strayThreads lists the threads of this process that are in another network namespace than its main thread.
func strayThreads(t *testing.T) []string {
	t.Helper()
	own := namespace(t, "/proc/self/ns/net")
	links, err := filepath.Glob("/proc/self/task/[0-9]*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, l := range links {
		if ns, err := os.Readlink(l); err == nil && ns != own {
			found = append(found, l+" "+ns)
		}
	}
	return found
}

// holders lists the threads on this machine that are in one of the network namespaces.
func threadsIn(t *testing.T, namespaces []string) []string {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/task/[0-9]*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, l := range links {
		if ns, err := os.Readlink(l); err == nil && slices.Contains(namespaces, ns) {
			found = append(found, l+" "+ns)
		}
	}
	return found
}

// machineState is what of the machine a lab might have touched: interfaces, mounts, hostname.
func machineState(t *testing.T) string {
	t.Helper()
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, l := range links {
		fmt.Fprintln(&b, l.Name, l.Flags)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	b.Write(mounts)
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		t.Fatal(err)
	}
	b.WriteString(unix.ByteSliceToString(uts.Nodename[:]))
	return b.String()
}
