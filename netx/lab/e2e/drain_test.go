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

// TestNodesGoByCommandAndWhenAllAreGoneThePageAnswers drains a node with a connection on it, and then breaks every node.
func TestNodesGoByCommandAndWhenAllAreGoneThePageAnswers(t *testing.T) {
	s := stage(t, nil)
	settled(t, s, 100)
	t.Run("a drain waits for the kernel's connections", func(t *testing.T) { drainWaits(t, s) })
	t.Run("the page answers", func(t *testing.T) { pageAnswers(t, s) })
}

func drainWaits(t *testing.T, s *testbed.Site) {
	open := openStreams(t, s)["app02"]
	_, err := s.RunLB(t.Context(), s.BalancerHost, "ctl", "drain", "webapp", "10.0.0.2", "-r", "upgrades", "--wait", "2s")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(err.Error(), "active connections of 10.0.0.2 in webapp: ") || !strings.Contains(err.Error(), "the drain stays") {
		t.Errorf("the wait with a connection open: %v", err)
	}
	if w := weights(t, s); w["10.0.0.2"] != 0 || w["10.0.0.1"] != 100 || w["10.0.0.3"] != 100 {
		t.Errorf("after the drain: %v", w)
	}
	if node := open.ask(t); node != "app02" {
		t.Errorf("the open connection is answered by %q", node)
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
	if out := lb(t, s, s.BalancerHost, "ctl", "drains"); !strings.Contains(out, "webapp   10.0.0.2") || !strings.Contains(out, "upgrades") {
		t.Errorf("after a kill and a start:\n%s", out)
	}
	if err := open.conn.Close(); err != nil {
		t.Fatal(err)
	}
	lb(t, s, s.BalancerHost, "ctl", "drain", "webapp", "10.0.0.2", "-r", "upgrades", "--wait", patience.String())
	for _, address := range []string{"10.0.0.1", "10.0.0.3"} {
		refused := address == "10.0.0.3"
		if _, err := s.RunLB(t.Context(), s.BalancerHost, "ctl", "drain", "webapp", address, "-r", "more"); (err != nil) != refused {
			t.Errorf("drain of %s: %v", address, err)
		}
	}
	for _, address := range []string{"10.0.0.1", "10.0.0.2"} {
		lb(t, s, s.BalancerHost, "ctl", "undrain", "--host", address)
	}
	settled(t, s, 100)
}

func pageAnswers(t *testing.T, s *testbed.Site) {
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
	table := kernelTable(t, s)
	labtest.Eventually(t, patience, "the page is in the service and no node is", func() (bool, string) {
		got := dump(t, table)
		return fmt.Sprint(got) == "map[10.0.0.1:0 10.0.0.2:0 10.0.0.3:0 "+testbed.VIP.String()+":1]", fmt.Sprint(got)
	})
	for i := range 3 {
		resp := ask(t, s)
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
	labtest.Eventually(t, patience, "app02 is back and the page has no weight", func() (bool, string) {
		got := dump(t, table)
		return got["10.0.0.2"] == 100 && got[testbed.VIP.String()] == 0, fmt.Sprint(got)
	})
	if err := s.Balancer.Reload(); err != nil {
		t.Fatal(err)
	}
	if counts := s.SendRequests(t.Context(), 40, 4); counts.Failed != 0 || counts.ByNode["app02"] != 40 {
		t.Errorf("with app02 back: %d failed, %v: %v", counts.Failed, counts.ByNode, counts.LastError)
	}
	if w := dump(t, table); w[testbed.VIP.String()] != 0 {
		t.Errorf("after a reload the page is in: %v", w)
	}
}

// ask has the client ask the VIP once.
func ask(t *testing.T, s *testbed.Site) *http.Response {
	t.Helper()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: s.Client.Dial}}
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
