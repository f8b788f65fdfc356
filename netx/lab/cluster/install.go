package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"
)

// install prepares a host's file system as if Corosync and Pacemaker were newly installed, with lb's resource agent and the fence agent in
// their usual places and logs as /var/log. It runs on the host.
func install(binary, logs string) error {
	if err := unix.Mount("tmpfs", "/dev/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"); err != nil {
		return fmt.Errorf("mount an empty /dev/shm: %w", err)
	}
	// Pacemaker's processes write there as another user.
	err := errors.Join(os.Chmod(logs, 0o777), os.Mkdir(logs+"/crmsh", 0o755))
	if err != nil {
		return err
	}
	if err := unix.Mount(logs, "/var/log", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount the log directory on /var/log: %w", err)
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

// createPackageDirs creates the directories that the packages and systemd would.
func createPackageDirs() error {
	account, err := user.Lookup("hacluster")
	if err != nil {
		return fmt.Errorf("find user hacluster of the pacemaker package: %w", err)
	}
	uid, uidErr := strconv.Atoi(account.Uid)
	gid, gidErr := strconv.Atoi(account.Gid)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return fmt.Errorf("parse the IDs of user hacluster: %w", err)
	}
	for _, dir := range []string{"/var/lib/corosync", "/var/lib/pacemaker", "/var/lib/pacemaker/cib", "/var/lib/pacemaker/pengine",
		"/var/lib/pacemaker/blackbox", "/var/lib/pacemaker/cores", "/run/crm", "/run/resource-agents"} {
		if err := errors.Join(os.Mkdir(dir, 0o750), os.Chown(dir, uid, gid)); err != nil {
			return err
		}
	}
	return nil
}

// overlay mounts new files on top of a directory of the machine, on this host only.
func overlay(dir string, fill func(dir string) error) error {
	upper, err := os.MkdirTemp("/run", "overlay-")
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
		return fmt.Errorf("mount an overlay on %s: %w", dir, err)
	}
	return nil
}
