//go:build lab

package e2e

import (
	"strings"
	"testing"

	"github.com/braintree/lb/netx/lab"
	"github.com/braintree/lb/netx/lab/labtest"
)

// TestDoctorSeesWhatIsAmiss asks it on a balancer and on an app node, before and after somebody changes what lb set up.
func TestDoctorSeesWhatIsAmiss(t *testing.T) {
	s := stage(t, nil)
	settled(t, s, 100)
	app := s.Members()[0].Host
	says := func(h *lab.Host, words ...string) {
		t.Helper()
		out := labtest.Run(t, h, "sh", "-c", binary(t)+" ctl doctor -c /run/lb.toml 2>&1; echo exit status $?")
		for _, word := range words {
			if !strings.Contains(out, word) {
				t.Errorf("%s: no %q in\n%s", h.Name(), word, out)
			}
		}
	}
	says(s.Load, "good: net.ipv4.vs.expire_nodest_conn is 1\n", "good: net.ipv4.vs.conntrack is 0\n", "exit status 0\n")
	says(app, "good: the tunnel accepts packets for [204.109.13.7]\nexit status 0\n")

	if err := s.Load.Sysctl("net.ipv4.vs.expire_nodest_conn", "0"); err != nil {
		t.Fatal(err)
	}
	labtest.Run(t, app, "ip", "address", "del", "204.109.13.7/32", "dev", "tunl0")
	says(s.Load, "bad:  net.ipv4.vs.expire_nodest_conn is 0, not 1: ", "exit status 1\n")
	says(app, "bad:  the tunnel's set-up lacks: add 204.109.13.7/32 to tunl0: ", "exit status 1\n")
	labtest.Run(t, s.Load, "sysctl", "-w", "net.ipv4.vs.expire_nodest_conn=1")
	labtest.Run(t, app, binary(t), "agent", "tunnel", "-c", "/run/lb.toml")
	says(s.Load, "exit status 0\n")
	says(app, "exit status 0\n")
}
