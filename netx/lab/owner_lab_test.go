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

// sleepSeconds is how long the processes of the killed owner's hosts sleep; it identifies them.
const sleepSeconds = "987654"

// nobody makes the owner drop its privileges first.
const nobody = "nobody"

// runOwner builds two hosts, starts a process on each with a child in its own session, prints "ready", and waits to be killed.
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

// startProcesses starts a process and a child on the host and prints the host's network namespace.
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

// sleepingProcesses lists the processes that sleep for sleepSeconds.
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

// strayThreads lists threads of this process that are not in its main thread's network namespace.
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

// threadsIn lists the machine's threads that are in one of the network namespaces.
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

// machineState returns the state of the machine that a lab could have changed: interfaces, mounts, hostname.
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
