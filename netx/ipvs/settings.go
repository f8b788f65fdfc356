package ipvs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Setting is a switch of the kernel's load balancer and the value that it should have.
type Setting struct {
	Name  string // below net.ipv4.vs
	Value string
	Why   string // what happens with another value, for the operator
}

// SafeSettings are those that lb's promises rest on (Documentation/networking/ipvs-sysctl.rst).
func SafeSettings() []Setting {
	return []Setting{
		{
			Name: "expire_nodest_conn", Value: "1",
			Why: "a client that uses a port again within two minutes still reaches a node that is at weight 0",
		},
	}
}

// Settings reads and writes the kernel's load-balancing settings, as files of a folder.
type Settings string

// KernelSettings are those of the network namespace of the calling thread.
const KernelSettings Settings = "/proc/sys/net/ipv4/vs"

// Get returns the value of a setting.
func (s Settings) Get(name string) (string, error) {
	value, err := os.ReadFile(filepath.Join(string(s), name))
	if err != nil {
		return "", fmt.Errorf("read net.ipv4.vs.%s: %w", name, err)
	}
	return strings.TrimSpace(string(value)), nil
}

// Set gives a setting its value.
func (s Settings) Set(name, value string) error {
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
