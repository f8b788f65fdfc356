package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// WriteFile writes a file in the host's file system, creating its directory if needed.
func (h *Host) WriteFile(path string, data []byte, mode os.FileMode) error {
	err := h.Do(func() error {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return os.WriteFile(path, data, mode)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", h.name, err)
	}
	return nil
}

// ReadFile reads a file in the host's file system.
func (h *Host) ReadFile(path string) ([]byte, error) {
	// /proc shows the host's processes, and this thread is not one of them. The host's init stands in for it.
	for _, own := range []string{"/proc/net/", "/proc/self/"} {
		if rest, ok := strings.CutPrefix(path, own); ok {
			path = strings.Replace(own, "/proc/", "/proc/1/", 1) + rest
			path = strings.Replace(path, "/proc/1/self/", "/proc/1/", 1)
			break
		}
	}
	var data []byte
	err := h.Do(func() (err error) {
		data, err = os.ReadFile(path)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h.name, err)
	}
	return data, nil
}

// Sysctl sets a kernel parameter of the host: net.ipv4.ip_forward, or net/ipv4/conf/eth0.7/rp_filter if a name contains a dot.
func (h *Host) Sysctl(key, value string) error {
	if !strings.Contains(key, "/") {
		key = strings.ReplaceAll(key, ".", "/")
	}
	err := h.Do(func() error { return writeSysctl(key, value) })
	if err != nil {
		return fmt.Errorf("%s: %w", h.name, err)
	}
	return nil
}
