//go:build lab

package e2e

import (
	"strings"
	"testing"

	"github.com/braintree/lb/netx/lab"
	"github.com/braintree/lb/netx/lab/labtest"
)

// TestDoctorReportsWrongSettings runs doctor on a balancer and an app node, before and after changes to what lb set up.
func TestDoctorReportsWrongSettings(t *testing.T) {
	s := newSite(t, nil)
	waitForWeight(t, s, 100)
	app := s.ConfiguredApps()[0].Host
	expect := func(h *lab.Host, words ...string) {
		t.Helper()
		out := labtest.Run(t, h, "sh", "-c", binary(t)+" ctl doctor -c /run/lb.toml 2>&1; echo exit status $?")
		for _, word := range words {
			if !strings.Contains(out, word) {
				t.Errorf("%s: no %q in\n%s", h.Name(), word, out)
			}
		}
	}
	expect(s.BalancerHost, "good: net.ipv4.vs.expire_nodest_conn is 1\n", "good: net.ipv4.vs.conntrack is 0\n", "exit status 0\n")
	expect(app, "good: the tunnel accepts packets for [204.109.13.7]\nexit status 0\n")

	if err := s.BalancerHost.Sysctl("net.ipv4.vs.expire_nodest_conn", "0"); err != nil {
		t.Fatal(err)
	}
	labtest.Run(t, app, "ip", "address", "del", "204.109.13.7/32", "dev", "tunl0")
	expect(s.BalancerHost, "bad:  net.ipv4.vs.expire_nodest_conn is 0, not 1: ", "exit status 1\n")
	expect(app, "bad:  the tunnel is not fully set up; missing: add 204.109.13.7/32 to tunl0: ", "exit status 1\n")
	labtest.Run(t, s.BalancerHost, "sysctl", "-w", "net.ipv4.vs.expire_nodest_conn=1")
	labtest.Run(t, app, binary(t), "agent", "tunnel", "-c", "/run/lb.toml")
	expect(s.BalancerHost, "exit status 0\n")
	expect(app, "exit status 0\n")
}
