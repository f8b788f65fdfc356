package ipvs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Setting is a switch of the kernel's load balancer and the value that it should have.
type Sysctl struct {
	Name  string // below net.ipv4.vs
	Value string
	Why   string // what happens with another value, for the operator
}

// Use is what of IPVS is used, as far as settings depend on it.
type Features struct {
	Persistence bool // clients stick to nodes
	Masq        bool // some packets are forwarded by NAT
	Sync        bool // both sync daemons run
}

// SafeSettings are those that lb's promises rest on (Documentation/networking/ipvs-sysctl.rst).
func RecommendedSysctls(use Features) []Sysctl {
	settings := []Sysctl{{
		Name: "expire_nodest_conn", Value: "1",
		Why: "a client that uses a port again within two minutes still reaches a node that is at weight 0",
	}}
	if use.Persistence {
		settings = append(settings, Sysctl{
			Name: "expire_quiescent_template", Value: "1",
			Why: "a client that sticks to a node goes on getting there when that node is at weight 0",
		})
	}
	if !use.Masq {
		settings = append(settings, Sysctl{
			Name: "conntrack", Value: "0",
			Why: "netfilter keeps an entry for each balanced connection, of which it sees one half, since the answers do not come by here",
		})
	}
	if use.Sync {
		// Documentation/networking/ipvs-sysctl.rst has it for machines that are nothing but backup. Here the backup daemon runs beside
		// the master, and the kernel forwards nothing at all where one runs and this is 1.
		settings = append(settings, Sysctl{
			Name: "backup_only", Value: "0",
			Why: "this machine forwards nothing as long as its backup sync daemon runs",
		})
	}
	return settings
}

// Settings reads and writes the kernel's load-balancing settings, as files of a folder.
type SysctlDir string

// KernelSettings are those of the network namespace of the calling thread.
const KernelSysctls SysctlDir = "/proc/sys/net/ipv4/vs"

// Get returns the value of a setting.
func (s SysctlDir) Get(name string) (string, error) {
	value, err := os.ReadFile(filepath.Join(string(s), name))
	if err != nil {
		return "", fmt.Errorf("read net.ipv4.vs.%s: %w", name, err)
	}
	return strings.TrimSpace(string(value)), nil
}

// Set gives a setting its value.
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
