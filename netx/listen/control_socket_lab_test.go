//go:build lab

package listen

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/braintree/lb/config"
)

// TestControlSocketAccessByUserAndGroup runs curl as users other than root.
func TestControlSocketAccessByUserAndGroup(t *testing.T) {
	const user, primary, group, further = 54321, 54321, 4242, 4243
	many := make([]uint32, 200) // more than the first buffer holds
	for i := range many {
		many[i] = uint32(10000 + i)
	}
	for _, tc := range []struct {
		name   string
		mode   os.FileMode // of the socket: file permissions apply before the daemon's own check
		groups []uint32
		want   string
	}{
		{"a non-member cannot connect", 0o660, nil, "curl: "},
		{"a member", 0o660, []uint32{further, group}, fmt.Sprintf("uid %d (pid ", user)},
		{"a member of many groups", 0o660, append(many, group), fmt.Sprintf("uid %d (pid ", user)},
		{"a non-member who can connect", 0o666, []uint32{further}, fmt.Sprintf("User %d is not permitted to make changes", user)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := testDaemon().LoadPolicy(config.Access{ControlGroup: fmt.Sprint(group)})
			if err != nil {
				t.Fatal(err)
			}
			dir := shortDir(t)
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "s")
			l, err := testDaemon().ListenControl(t.Context(), path, p)
			if err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 || info.Sys().(*syscall.Stat_t).Gid != group {
				t.Errorf("the socket is %+v, %v", info.Sys(), err)
			}
			if err := os.Chmod(path, tc.mode); err != nil {
				t.Fatal(err)
			}
			serve(t, Limit(l, 4), testDaemon().NewAuthorizer(path, p).AuthorizeSocket)
			curl := exec.Command("curl", "-sS", "-X", "POST", "--unix-socket", path, "http://agent/webapp/down")
			curl.Dir = "/"
			curl.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: primary, Groups: tc.groups}}
			out, _ := curl.CombinedOutput() // its exit status adds nothing to its output
			if !strings.HasPrefix(string(out), tc.want) {
				t.Errorf("got %q, want %q", out, tc.want)
			}
		})
	}
}

// TestADaemonInTheControlGroupNeedsNoCapChown runs a daemon as systemd does: with Group= and without CAP_CHOWN.
func TestADaemonInTheControlGroupNeedsNoCapChown(t *testing.T) {
	if path := os.Getenv("LISTEN_TEST_SOCKET"); path != "" {
		p, err := testDaemon().LoadPolicy(config.Access{ControlGroup: "4242"})
		if err != nil {
			t.Fatal(err)
		}
		l, err := testDaemon().ListenControl(t.Context(), path, p)
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		return
	}
	for gid, want := range map[uint32]string{4242: "PASS", 4243: "Group= in a drop-in"} {
		dir := shortDir(t)
		if err := os.Chown(dir, 54321, int(gid)); err != nil {
			t.Fatal(err)
		}
		self := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$")
		self.Env = append(os.Environ(), "LISTEN_TEST_SOCKET="+filepath.Join(dir, "s"))
		self.Dir = "/"
		self.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 54321, Gid: gid}}
		if out, err := self.CombinedOutput(); !strings.Contains(string(out), want) {
			t.Errorf("group %d: %v\n%s", gid, err, out)
		}
	}
}
