package tunnel

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/braintree/lb/netx/recordstore"
)

// bootIDFile names the run of the kernel; a note of an earlier one says nothing about this one.
const bootIDFile = "/proc/sys/kernel/random/boot_id"

// Note is what lb changed and Down must put back.
type Saved struct {
	Boot     string                 `json:"boot"`              // of which run of the kernel this is true
	DeviceUp bool                   `json:"device_up"`         // lb set tunl0 up
	Sysctls  map[string]SavedSysctl `json:"sysctls,omitempty"` // by key as in State.Sysctls
}

// Change is one setting's value before lb and by lb.
type SavedSysctl struct {
	Before string `json:"was"`
	Set    string `json:"set"`
}

// noteFile keeps a note in a folder.
type noteFile struct{ dir string }

func (f noteFile) path() string { return filepath.Join(f.dir, "tunnel.json") }

// read returns the note of this run of the kernel, empty where there is none.
func (f noteFile) read() (Saved, error) {
	boot, err := os.ReadFile(bootIDFile)
	if err != nil {
		return Saved{}, fmt.Errorf("tell this run of the kernel from others: %w", err)
	}
	fresh := Saved{Boot: strings.TrimSpace(string(boot)), Sysctls: map[string]SavedSysctl{}}
	data, err := os.ReadFile(f.path())
	if errors.Is(err, os.ErrNotExist) {
		return fresh, nil
	}
	if err != nil {
		return Saved{}, fmt.Errorf("read what the settings were: %w", err)
	}
	var n Saved
	if err := json.Unmarshal(data, &n); err != nil {
		return Saved{}, fmt.Errorf("read what the settings were: %s: %w (remove the file: then settings stay as they are when the tunnel is undone)", f.path(), err)
	}
	if n.Boot != fresh.Boot {
		return fresh, nil
	}
	if n.Sysctls == nil {
		n.Sysctls = map[string]SavedSysctl{}
	}
	return n, nil
}

// change rewrites the note. A crash leaves the old one or the new one.
func (f noteFile) change(edit func(*Saved)) error {
	n, err := f.read()
	if err != nil {
		return err
	}
	edit(&n)
	if !n.DeviceUp && len(n.Sysctls) == 0 {
		return f.remove()
	}
	data, err := json.MarshalIndent(n, "", "  ")
	if err != nil {
		return fmt.Errorf("write down what the settings were: %w", err)
	}
	if err := f.replace(append(data, '\n')); err != nil {
		return fmt.Errorf("write down what the settings were: %w", err)
	}
	return nil
}

func (f noteFile) replace(data []byte) error {
	if err := os.MkdirAll(f.dir, 0o755); err != nil {
		return err
	}
	return recordstore.WriteFileAtomic(f.path(), data, 0o600)
}

// remove forgets the note; no error when there is none.
func (f noteFile) remove() error {
	if err := os.Remove(f.path()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("forget what the settings were: %w", err)
	}
	return nil
}
