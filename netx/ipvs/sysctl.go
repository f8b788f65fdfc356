package ipvs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Sysctl is a sysctl with its recommended value.
type Sysctl struct {
	Name   string // such as net.ipv4.vs.conntrack
	Value  string
	Why    string // the consequence of another value, for operators
	Blocks bool   // with another value no client of the clusters that need it is served
}

// IPVS reports whether the sysctl belongs to the module ip_vs.
func (s Sysctl) IPVS() bool { return strings.HasPrefix(s.Name, "net.ipv4.vs.") }

// Features are the features of IPVS in use on which sysctls depend.
type Features struct {
	Persistence bool // services with persistence
	Masq        bool // destinations with NAT
	NAT4        bool // nodes with NAT and IPv4, whose replies pass through this machine
	NAT6        bool // the same with IPv6
	Sync        bool // both sync daemons
	Removal     bool // destinations that fail are removed
}

// RecommendedSysctls returns the values that lb relies on (Documentation/networking/ipvs-sysctl.rst).
func RecommendedSysctls(use Features) []Sysctl {
	settings := []Sysctl{{
		Name: "net.ipv4.vs.expire_nodest_conn", Value: "1",
		Why: "a client that reuses a port within two minutes still reaches a node at weight 0",
	}}
	if use.Removal {
		settings[0].Why += "; and what clients send to a node that failed and was removed is dropped for minutes"
	}
	if use.Persistence {
		settings = append(settings, Sysctl{
			Name: "net.ipv4.vs.expire_quiescent_template", Value: "1",
			Why: "a persistent client keeps reaching its node while that node is at weight 0",
		})
	}
	if !use.Masq {
		settings = append(settings, Sysctl{
			Name: "net.ipv4.vs.conntrack", Value: "0",
			Why: "netfilter tracks every balanced connection but sees only half of it, because replies bypass this machine",
		})
	}
	if use.Sync {
		// ipvs-sysctl.rst recommends 1 for pure backup machines. Here a backup daemon runs beside a master, and with 1
		// the kernel would forward nothing while it runs.
		settings = append(settings, Sysctl{
			Name: "net.ipv4.vs.backup_only", Value: "0", Blocks: true,
			Why: "this machine forwards nothing while its backup sync daemon runs",
		})
	}
	const noReplies = `the kernel drops what nodes reply with forwarding = "nat"`
	if use.NAT4 {
		settings = append(settings, Sysctl{Name: "net.ipv4.ip_forward", Value: "1", Why: noReplies, Blocks: true})
	}
	if use.NAT6 {
		settings = append(settings, Sysctl{Name: "net.ipv6.conf.all.forwarding", Value: "1", Why: noReplies, Blocks: true})
	}
	return settings
}

// SysctlDir is a folder of sysctl files.
type SysctlDir string

// KernelSysctls are the sysctls in the network namespace of the calling thread.
const KernelSysctls SysctlDir = "/proc/sys"

// path is the file of a sysctl.
func (s SysctlDir) path(name string) string {
	return filepath.Join(string(s), strings.ReplaceAll(name, ".", "/"))
}

// Get reads a sysctl.
func (s SysctlDir) Get(name string) (string, error) {
	value, err := os.ReadFile(s.path(name))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	return strings.TrimSpace(string(value)), nil
}

// Set writes a sysctl.
func (s SysctlDir) Set(name, value string) error {
	if name == "net.ipv6.conf.all.forwarding" {
		if err := s.keepAdvertisements(); err != nil {
			return err
		}
	}
	return s.write(s.path(name), value)
}

// keepAdvertisements lets interfaces that take routes and addresses from router advertisements go on with that when the machine forwards
// IPv6: with accept_ra at 1 they would lose their default route.
func (s SysctlDir) keepAdvertisements() error {
	files, err := filepath.Glob(s.path("net.ipv6.conf") + "/*/accept_ra")
	if err != nil {
		return fmt.Errorf("list the interfaces: %w", err)
	}
	for _, file := range files {
		value, err := os.ReadFile(file)
		if err != nil || strings.TrimSpace(string(value)) != "1" || filepath.Base(filepath.Dir(file)) == "all" {
			continue // the interface has disappeared, or takes none, or takes them anyway
		}
		if err := s.write(file, "2"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (s SysctlDir) write(file, value string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("set a sysctl to %s: %w", value, err)
	}
	_, err = f.WriteString(value + "\n")
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("set a sysctl to %s: %w", value, err)
	}
	return nil
}
