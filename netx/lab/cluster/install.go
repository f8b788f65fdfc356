package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"
)

// install makes a host's file system one where Corosync and Pacemaker are installed and have never run, with lb's resource agent and
// the fence agent where they are looked for, and the folder of logs as its own. It runs on the host.
func install(binary, logs string) error {
	if err := unix.Mount("tmpfs", "/dev/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"); err != nil {
		return fmt.Errorf("mount an empty /dev/shm: %w", err)
	}
	// Pacemaker's processes write there, too, and they are another user's.
	err := errors.Join(os.Chmod(logs, 0o777), os.Mkdir(logs+"/crmsh", 0o755))
	if err != nil {
		return err
	}
	if err := unix.Mount(logs, "/var/log", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount a folder on /var/log: %w", err)
	}
	if err := createPackageDirs(); err != nil {
		return err
	}
	err = overlay("/usr/lib/ocf/resource.d", func(dir string) error {
		if err := os.Mkdir(dir+"/braintree", 0o755); err != nil {
			return err
		}
		return os.Symlink(binary, dir+"/braintree/bigbrother")
	})
	if err != nil {
		return err
	}
	return overlay("/usr/sbin", func(dir string) error { return os.WriteFile(dir+"/fence_strip", []byte(fenceAgent), 0o755) })
}

// folders makes those that come with the packages, and with systemd.
func createPackageDirs() error {
	account, err := user.Lookup("hacluster")
	if err != nil {
		return fmt.Errorf("find Pacemaker's user, who comes with its package: %w", err)
	}
	uid, uidErr := strconv.Atoi(account.Uid)
	gid, gidErr := strconv.Atoi(account.Gid)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return fmt.Errorf("number of Pacemaker's user: %w", err)
	}
	for _, dir := range []string{"/var/lib/corosync", "/var/lib/pacemaker", "/var/lib/pacemaker/cib", "/var/lib/pacemaker/pengine",
		"/var/lib/pacemaker/blackbox", "/var/lib/pacemaker/cores", "/run/crm", "/run/resource-agents"} {
		if err := errors.Join(os.Mkdir(dir, 0o750), os.Chown(dir, uid, gid)); err != nil {
			return err
		}
	}
	return nil
}

// layer puts a folder of files on top of one of the machine's, as this host sees it.
func overlay(dir string, fill func(dir string) error) error {
	upper, err := os.MkdirTemp("/run", "layer-")
	if err != nil {
		return err
	}
	if err := os.Chmod(upper, 0o755); err != nil {
		return err
	}
	if err := fill(upper); err != nil {
		return err
	}
	if err := unix.Mount("overlay", dir, "overlay", unix.MS_RDONLY, "lowerdir="+upper+":"+dir); err != nil {
		return fmt.Errorf("layer on %s: %w", dir, err)
	}
	return nil
}
