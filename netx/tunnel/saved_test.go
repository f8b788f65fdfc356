package tunnel

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/braintree/lb/netx"
)

func TestSavedFileKeepsTheFirstValue(t *testing.T) {
	f := savedFile{filepath.Join(t.TempDir(), "agent")}
	if n, err := f.read(); err != nil || n.DeviceUp || len(n.Sysctls) != 0 {
		t.Fatalf("saved before the first update: %+v, %v", n, err)
	}
	if err := f.update(func(n *Saved) { n.Sysctls["all/arp_ignore"] = SavedSysctl{"0", "1"} }); err != nil {
		t.Fatal(err)
	}
	if err := f.update(func(n *Saved) { n.DeviceUp = true }); err != nil {
		t.Fatal(err)
	}
	if n, err := f.read(); err != nil || !n.DeviceUp || n.Sysctls["all/arp_ignore"] != (SavedSysctl{"0", "1"}) {
		t.Errorf("read %+v, %v", n, err)
	}
	if files, err := os.ReadDir(f.dir); err != nil || len(files) != 1 {
		t.Errorf("files left in the folder: %v, %v", files, err)
	}
	for range 2 {
		if err := f.remove(); err != nil {
			t.Error(err)
		}
	}
}

func TestASavedFileFromAnEarlierBootIsIgnored(t *testing.T) {
	f := savedFile{t.TempDir()}
	earlier := []byte(`{"boot": "earlier", "device_up": true, "sysctls": {"all/arp_ignore": {"was": "0", "set": "1"}}}`)
	if err := os.WriteFile(f.path(), earlier, 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := f.read(); err != nil || n.DeviceUp || len(n.Sysctls) != 0 {
		t.Errorf("read %+v, %v", n, err)
	}
}

func TestABrokenSavedFileErrorNamesTheFix(t *testing.T) {
	f := savedFile{t.TempDir()}
	if err := os.WriteFile(f.path(), []byte(`{"boot": `), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.read(); err == nil || !strings.Contains(err.Error(), f.path()) || !strings.Contains(err.Error(), "remove the file") {
		t.Errorf("got %v", err)
	}
}

func TestDeviceErrnosMapToTheirCause(t *testing.T) {
	if err := explainDeviceErrno(ipv4, unix.EOPNOTSUPP); !errors.Is(err, ErrNoIPIP) || !strings.Contains(err.Error(), "modprobe ipip") {
		t.Errorf("got %v", err)
	}
	if err := explainDeviceErrno(ipv6, unix.EOPNOTSUPP); !errors.Is(err, ErrNoIP6Tnl) {
		t.Errorf("got %v", err)
	}
	if err := explainDeviceErrno(ipv4, unix.EPERM); !errors.Is(err, netx.ErrNoPrivilege) {
		t.Errorf("got %v", err)
	}
	if err := explainDeviceErrno(ipv6, nil); err != nil {
		t.Errorf("got %v", err)
	}
}
