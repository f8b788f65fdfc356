package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// WriteFile writes a file as the host sees it, making its folder where there is none.
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

// ReadFile reads a file as the host sees it.
func (h *Host) ReadFile(path string) ([]byte, error) {
	// The host's /proc shows the host's processes, and a thread of ours is none of them; its init is.
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

// Sysctl sets a kernel setting of the host: net.ipv4.ip_forward, or net/ipv4/conf/eth0.7/rp_filter where a name has a dot.
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
