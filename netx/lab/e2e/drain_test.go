//go:build lab

package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/braintree/lb/netx/lab/labtest"
	"github.com/braintree/lb/netx/lab/testbed"
)

// TestDrainAndDownpage drains a node that has an open connection, and then makes all nodes fail.
func TestDrainAndDownpage(t *testing.T) {
	s := newSite(t, nil)
	waitForWeight(t, s, 100)
	t.Run("a drain waits for open connections", func(t *testing.T) { testDrain(t, s) })
	t.Run("the downpage is served when all nodes are down", func(t *testing.T) { testDownpage(t, s) })
}

func testDrain(t *testing.T, s *testbed.Site) {
	open := openStreams(t, s)["app02"]
	_, err := s.RunLB(t.Context(), s.BalancerHost, "ctl", "drain", "webapp", "10.0.0.2", "-r", "upgrades", "--wait", "2s")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 ||
		!strings.Contains(
			err.Error(),
			"active connections of 10.0.0.2 in webapp: ",
		) || !strings.Contains(err.Error(), "the drain continues") {
		t.Errorf("drain --wait with an open connection: %v", err)
	}
	if w := readWeights(t, s); w["10.0.0.2"] != 0 || w["10.0.0.1"] != 100 || w["10.0.0.3"] != 100 {
		t.Errorf("after the drain: %v", w)
	}
	if node := open.ping(t); node != "app02" {
		t.Errorf("%q responds on the open connection, want app02", node)
	}
	if counts := s.SendRequests(t.Context(), 40, 4); counts.Failed != 0 || counts.ByNode["app02"] != 0 {
		t.Errorf("during the drain: %d failed, %v: %v", counts.Failed, counts.ByNode, counts.LastError)
	}
	if err := s.Balancer.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Balancer.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	out := runLB(t, s, s.BalancerHost, "ctl", "drains")
	if !strings.Contains(out, "webapp   10.0.0.2") || !strings.Contains(out, "upgrades") {
		t.Errorf("drains after a kill and restart:\n%s", out)
	}
	if err := open.conn.Close(); err != nil {
		t.Fatal(err)
	}
	runLB(t, s, s.BalancerHost, "ctl", "drain", "webapp", "10.0.0.2", "-r", "upgrades", "--wait", timeout.String())
	for _, address := range []string{"10.0.0.1", "10.0.0.3"} {
		refused := address == "10.0.0.3"
		if _, err := s.RunLB(t.Context(), s.BalancerHost, "ctl", "drain", "webapp", address, "-r", "more"); (err != nil) != refused {
			t.Errorf("drain of %s: %v", address, err)
		}
	}
	for _, address := range []string{"10.0.0.1", "10.0.0.2"} {
		runLB(t, s, s.BalancerHost, "ctl", "undrain", "--host", address)
	}
	waitForWeight(t, s, 100)
}

func testDownpage(t *testing.T, s *testbed.Site) {
	text := labtest.Run(t, s.BalancerHost, "cat", "/run/lb.toml")
	text = strings.Replace(text, "fwmark         = 7\n", "fwmark         = 7\nall_down       = \"downpage\"\n", 1)
	if err := s.WriteConfig([]byte(text + "\n[clusters.webapp.downpage]\npage = true\n")); err != nil {
		t.Fatal(err)
	}
	if err := s.Balancer.Reload(); err != nil {
		t.Fatal(err)
	}
	for _, app := range s.Apps {
		app.SetHeartbeat(http.StatusInternalServerError)
	}
	table := openTable(t, s)
	labtest.Eventually(t, timeout, "only the downpage has weight", func() (bool, string) {
		got := dumpWeights(t, table)
		return fmt.Sprint(got) == "map[10.0.0.1:0 10.0.0.2:0 10.0.0.3:0 "+testbed.VIP.String()+":1]", fmt.Sprint(got)
	})
	for i := range 3 {
		resp := getVIP(t, s)
		if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") != "30" {
			t.Errorf("with all nodes down: %s, Retry-After %q", resp.Status, resp.Header.Get("Retry-After"))
		}
		if i == 1 {
			if err := s.Balancer.Reload(); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.Apps[1].SetHeartbeat(http.StatusOK)
	labtest.Eventually(t, timeout, "app02 is back and the downpage has no weight", func() (bool, string) {
		got := dumpWeights(t, table)
		return got["10.0.0.2"] == 100 && got[testbed.VIP.String()] == 0, fmt.Sprint(got)
	})
	if err := s.Balancer.Reload(); err != nil {
		t.Fatal(err)
	}
	if counts := s.SendRequests(t.Context(), 40, 4); counts.Failed != 0 || counts.ByNode["app02"] != 40 {
		t.Errorf("with app02 back: %d failed, %v: %v", counts.Failed, counts.ByNode, counts.LastError)
	}
	if w := dumpWeights(t, table); w[testbed.VIP.String()] != 0 {
		t.Errorf("after a reload the downpage has weight: %v", w)
	}
}

// getVIP sends one request from the client to the VIP.
func getVIP(t *testing.T, s *testbed.Site) *http.Response {
	t.Helper()
	client := &http.Client{Timeout: timeout, Transport: &http.Transport{DisableKeepAlives: true, DialContext: s.Client.Dial}}
	resp, err := client.Get(fmt.Sprintf("http://%s:%d/anything", testbed.VIP, testbed.Port))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp
}
