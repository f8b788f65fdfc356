package tunnel

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/braintree/lb/netx/recordstore"
)

// bootIDFile identifies the boot. Values saved in an earlier boot no longer apply.
const bootIDFile = "/proc/sys/kernel/random/boot_id"

// Saved is what lb changed and Down must restore.
type Saved struct {
	Boot     string                 `json:"boot"`              // boot ID
	DeviceUp bool                   `json:"device_up"`         // lb set tunl0 up
	Sysctls  map[string]SavedSysctl `json:"sysctls,omitempty"` // by key as in State.Sysctls

	Device6Up bool         `json:"device6_up,omitempty"` // lb set ip6tnl0 up
	VIPs6     []netip.Addr `json:"vips6,omitempty"`      // that lb added to ip6tnl0: IPv6 addresses have no labels
}

// empty reports whether there is nothing to restore.
func (s Saved) empty() bool {
	return !s.DeviceUp && !s.Device6Up && len(s.Sysctls) == 0 && len(s.VIPs6) == 0
}

// deviceUp is the field for the family's device.
func (s *Saved) deviceUp(f family) *bool {
	if f.bits == ipv6.bits {
		return &s.Device6Up
	}
	return &s.DeviceUp
}

// SavedSysctl is a sysctl's value before lb changed it and the value that lb set.
type SavedSysctl struct {
	Before string `json:"was"`
	Set    string `json:"set"`
}

// savedFile stores Saved in a folder.
type savedFile struct{ dir string }

func (f savedFile) path() string { return filepath.Join(f.dir, "tunnel.json") }

// read returns what was saved since boot; it is empty if there is none.
func (f savedFile) read() (Saved, error) {
	boot, err := os.ReadFile(bootIDFile)
	if err != nil {
		return Saved{}, fmt.Errorf("read the boot ID: %w", err)
	}
	fresh := Saved{Boot: strings.TrimSpace(string(boot)), Sysctls: map[string]SavedSysctl{}}
	data, err := os.ReadFile(f.path())
	if errors.Is(err, os.ErrNotExist) {
		return fresh, nil
	}
	if err != nil {
		return Saved{}, fmt.Errorf("read the saved settings: %w", err)
	}
	var saved Saved
	if err := json.Unmarshal(data, &saved); err != nil {
		return Saved{}, fmt.Errorf("read the saved settings: %s: %w: remove the file; undoing the tunnel then leaves sysctls as they are",
			f.path(), err)
	}
	if saved.Boot != fresh.Boot {
		return fresh, nil
	}
	if saved.Sysctls == nil {
		saved.Sysctls = map[string]SavedSysctl{}
	}
	return saved, nil
}

// update rewrites the file atomically.
func (f savedFile) update(edit func(*Saved)) error {
	saved, err := f.read()
	if err != nil {
		return err
	}
	edit(&saved)
	if saved.empty() {
		return f.remove()
	}
	data, err := json.MarshalIndent(saved, "", "  ")
	if err != nil {
		return fmt.Errorf("save the previous settings: %w", err)
	}
	if err := f.write(append(data, '\n')); err != nil {
		return fmt.Errorf("save the previous settings: %w", err)
	}
	return nil
}

func (f savedFile) write(data []byte) error {
	if err := os.MkdirAll(f.dir, 0o755); err != nil {
		return err
	}
	return recordstore.WriteFileAtomic(f.path(), data, 0o600)
}

// remove deletes the file; it is no error if there is none.
func (f savedFile) remove() error {
	if err := os.Remove(f.path()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("delete the saved settings: %w", err)
	}
	return nil
}
