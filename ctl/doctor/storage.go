package doctor

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/config"
)

// minFree is the space that a data_dir needs: a full audit log and event log each, and the files of forces and drains.
const minFree = 16 << 20

func lookAtBalancerData(_ context.Context, m *Machine) ([]Finding, error) {
	return examineData(m.path(m.config.Balancer.DataDir), "drains, the audit log and events", client.Balancer())
}

func lookAtAgentData(_ context.Context, m *Machine) ([]Finding, error) {
	return examineData(m.path(m.config.Agent.DataDir), "forces and the audit log", client.Agent())
}

// examineData examines a daemon's data_dir.
func examineData(dir, what string, d client.Daemon) ([]Finding, error) {
	info, err := os.Stat(dir)
	var space unix.Statfs_t
	if err == nil {
		err = unix.Statfs(dir, &space)
	}
	why := what + " cannot be stored: such changes are refused or not recorded"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []Finding{bad(dir+" does not exist", why, "`systemctl restart "+d.Unit+"`, which makes it")}, nil
	case err != nil:
		return nil, err
	case !info.IsDir():
		return []Finding{bad(dir+" is not a folder", why, "remove it, then `systemctl restart "+d.Unit+"`")}, nil
	case space.Flags&unix.ST_RDONLY != 0:
		return []Finding{bad(dir+" is on a file system that is read-only", why, "mount it read-write, after a look at the disk")}, nil
	case unix.Access(dir, unix.W_OK) != nil:
		return []Finding{unknown(dir, "this user may not write there", "run this command as root")}, nil
	case info.Mode().Perm()&0o002 != 0:
		return []Finding{bad(dir+" is writable by everybody", "every user of this machine can force services or drain nodes",
			"`chmod o-w "+dir+"`")}, nil
	case space.Bavail*uint64(space.Bsize) < minFree || space.Files > 0 && space.Ffree < 100:
		return []Finding{bad(fmt.Sprintf("%s has room for %d KiB and %d files", dir, space.Bavail*uint64(space.Bsize)>>10, space.Ffree),
			why, "make room on that disk")}, nil
	}
	return []Finding{good("%s can store %s", dir, what)}, nil
}

// lookAtOverrides looks for up and down files that have no effect.
func lookAtOverrides(_ context.Context, m *Machine) ([]Finding, error) {
	var found []Finding
	for _, kind := range []string{"up", "down"} {
		dir := m.path(filepath.Join(m.config.Balancer.OverrideDir, kind))
		entries, err := os.ReadDir(dir)
		switch {
		case errors.Is(err, fs.ErrPermission):
			return nil, err
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			found = append(found, bad(dir+" cannot be listed", "its files have no effect: "+err.Error(), "make it a folder of root's"))
		}
		for _, e := range entries {
			if !slices.ContainsFunc(m.config.Clusters, func(c config.Cluster) bool { return c.Name == e.Name() }) {
				found = append(found, bad("files in "+dir+" name no cluster", "they have no effect",
					"rename each to the name of a cluster, or remove it").of(e.Name()))
			}
		}
	}
	if len(found) == 0 {
		found = append(found, good("every up and down file names a cluster"))
	}
	return found, nil
}

// lookAtEvents looks at whether lb balance writes its events to their file.
func lookAtEvents(ctx context.Context, m *Machine) ([]Finding, error) {
	c, err := client.New(client.Balancer(), m.config.Balancer.Control)
	if err != nil {
		return nil, err
	}
	r, err := c.Do(ctx, client.Request{Path: "/metrics", Timeout: answerTime})
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		return nil, silent(client.Balancer(), err)
	}
	return examineEvents(r.Body, m.config.Balancer.DataDir)
}

func examineEvents(metrics []byte, dir string) ([]Finding, error) {
	for lines := bufio.NewScanner(bytes.NewReader(metrics)); lines.Scan(); {
		text, ok := strings.CutPrefix(lines.Text(), "lb_balancer_events_unwritten_total ")
		if !ok {
			continue
		}
		lost, err := strconv.ParseFloat(text, 64)
		switch {
		case err != nil:
			return nil, err
		case lost > 0:
			return []Finding{bad(fmt.Sprintf("%.0f events are missing from events.log", lost), "the record of what happened has gaps",
				"look at the disk of "+dir+"; the count begins anew with `systemctl restart lb-balance`")}, nil
		}
		return []Finding{good("every event is in events.log")}, nil
	}
	return nil, errors.New("lb balance does not count unwritten events")
}
