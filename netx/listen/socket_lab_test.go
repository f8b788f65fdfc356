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

// TestOtherUsersOfTheMachine asks as users that are not root: curl runs as them.
func TestOtherUsersOfTheMachine(t *testing.T) {
	const user, primary, group, further = 54321, 54321, 4242, 4243
	many := make([]uint32, 200) // more than the first look-up has room for
	for i := range many {
		many[i] = uint32(10000 + i)
	}
	for _, tc := range []struct {
		name   string
		mode   os.FileMode // of the socket: what keeps them out before the daemon does
		groups []uint32
		want   string
	}{
		{"no member cannot connect", 0o660, nil, "curl: "},
		{"a member", 0o660, []uint32{further, group}, fmt.Sprintf("uid %d (pid ", user)},
		{"a member of many groups", 0o660, append(many, group), fmt.Sprintf("uid %d (pid ", user)},
		{"no member, who can connect all the same", 0o666, []uint32{further}, fmt.Sprintf("User %d may change nothing here", user)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k, err := theAgent().LoadPolicy(config.Access{ControlGroup: fmt.Sprint(group)})
			if err != nil {
				t.Fatal(err)
			}
			dir := shortDir(t)
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "s")
			l, err := theAgent().ListenControl(t.Context(), path, k)
			if err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 || info.Sys().(*syscall.Stat_t).Gid != group {
				t.Errorf("the socket is %+v, %v", info.Sys(), err)
			}
			if err := os.Chmod(path, tc.mode); err != nil {
				t.Fatal(err)
			}
			serving(t, Limit(l, 4), theAgent().NewAuthorizer(path, k).AuthorizeSocket)
			curl := exec.Command("curl", "-sS", "-X", "POST", "--unix-socket", path, "http://agent/webapp/down")
			curl.Dir = "/"
			curl.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: primary, Groups: tc.groups}}
			out, _ := curl.CombinedOutput() // its status says no more than its words
			if !strings.HasPrefix(string(out), tc.want) {
				t.Errorf("got %q, want %q", out, tc.want)
			}
		})
	}
}

// TestADaemonWithTheGroupNeedsNoRightToGiveTheSocketAway is how both daemons run under systemd: with Group= and without CAP_CHOWN.
func TestADaemonWithTheGroupNeedsNoRightToGiveTheSocketAway(t *testing.T) {
	if path := os.Getenv("LISTEN_TEST_SOCKET"); path != "" {
		k, err := theAgent().LoadPolicy(config.Access{ControlGroup: "4242"})
		if err != nil {
			t.Fatal(err)
		}
		l, err := theAgent().ListenControl(t.Context(), path, k)
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
