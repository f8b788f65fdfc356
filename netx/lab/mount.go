package lab

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// cgroups is the mount point of control groups. A newly mounted /sys does not contain them.
const cgroups = "/sys/fs/cgroup"

// mountHost sets up the calling thread's new mount namespace for a host: detached from the machine's, with empty /run and /var/lib and
// the /sys of the new network namespace. The init mounts /proc.
func mountHost() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	for _, dir := range []string{"/run", "/var/lib"} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
			return fmt.Errorf("mount an empty %s: %w", dir, err)
		}
	}
	// lb's systemd units create these with RuntimeDirectory and StateDirectory.
	for _, dir := range []string{"/run/lock", "/run/lb", "/var/lib/lb"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return fmt.Errorf("create a directory of the host: %w", err)
		}
	}
	return mountSys()
}

// mountSys mounts the network namespace's /sys with the machine's control groups inside.
func mountSys() error {
	tree, err := unix.OpenTree(unix.AT_FDCWD, cgroups, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("copy the mounts below %s: %w", cgroups, err)
	}
	if err == nil {
		defer unix.Close(tree)
	}
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	if err := unix.Mount("sysfs", "/sys", "sysfs", flags, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	if err != nil {
		return nil // the machine has no control groups
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, cgroups, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount %s: %w", cgroups, err)
	}
	return nil
}
