package ipvs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Sysctl is an IPVS sysctl with its recommended value.
type Sysctl struct {
	Name  string // below net.ipv4.vs
	Value string
	Why   string // the consequence of another value, for operators
}

// Features are the features of IPVS in use on which sysctls depend.
type Features struct {
	Persistence bool // services with persistence
	Masq        bool // destinations with NAT
	Sync        bool // both sync daemons
	Removal     bool // destinations that fail are removed
}

// RecommendedSysctls returns the values that lb relies on (Documentation/networking/ipvs-sysctl.rst).
func RecommendedSysctls(use Features) []Sysctl {
	settings := []Sysctl{{
		Name: "expire_nodest_conn", Value: "1",
		Why: "a client that reuses a port within two minutes still reaches a node at weight 0",
	}}
	if use.Removal {
		settings[0].Why += "; and what clients send to a node that failed and was removed is dropped for minutes"
	}
	if use.Persistence {
		settings = append(settings, Sysctl{
			Name: "expire_quiescent_template", Value: "1",
			Why: "a persistent client keeps reaching its node while that node is at weight 0",
		})
	}
	if !use.Masq {
		settings = append(settings, Sysctl{
			Name: "conntrack", Value: "0",
			Why: "netfilter tracks every balanced connection but sees only half of it, because replies bypass this machine",
		})
	}
	if use.Sync {
		// ipvs-sysctl.rst recommends 1 for pure backup machines. Here a backup daemon runs beside a master, and with 1
		// the kernel would forward nothing while it runs.
		settings = append(settings, Sysctl{
			Name: "backup_only", Value: "0",
			Why: "this machine forwards nothing while its backup sync daemon runs",
		})
	}
	return settings
}

// SysctlDir is a folder of IPVS sysctl files.
type SysctlDir string

// KernelSysctls are the sysctls in the network namespace of the calling thread.
const KernelSysctls SysctlDir = "/proc/sys/net/ipv4/vs"

// Get reads a sysctl.
func (s SysctlDir) Get(name string) (string, error) {
	value, err := os.ReadFile(filepath.Join(string(s), name))
	if err != nil {
		return "", fmt.Errorf("read net.ipv4.vs.%s: %w", name, err)
	}
	return strings.TrimSpace(string(value)), nil
}

// Set writes a sysctl.
func (s SysctlDir) Set(name, value string) error {
	f, err := os.OpenFile(filepath.Join(string(s), name), os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("set net.ipv4.vs.%s to %s: %w", name, value, err)
	}
	_, err = f.WriteString(value + "\n")
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("set net.ipv4.vs.%s to %s: %w", name, value, err)
	}
	return nil
}
