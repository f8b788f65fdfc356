//go:build lab

package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/braintree/lb/netx/lab/labtest"
	"github.com/braintree/lb/netx/lab/testbed"
)

func TestForceDownDrainsAndDeleteRampsUp(t *testing.T) {
	s := newSite(t, func(o *testbed.Options) { o.RampUp = 6 * time.Second })
	waitForWeight(t, s, 100)
	established := openStreams(t, s)
	traffic := s.StartTraffic(t.Context(), 20)
	table := openTable(t, s)

	app := s.Apps[1]
	out := runLB(t, s, app.Host, "ctl", "force", "down", "webapp", "-r", "apt upgrades")
	if !strings.Contains(out, "File created") {
		t.Errorf("force down printed %q", out)
	}
	forced := time.Now()
	labtest.Eventually(t, timeout, "app02 at weight 0", func() (bool, string) {
		got := dumpWeights(t, table)
		return got["10.0.0.2"] == 0, fmt.Sprint(got)
	})
	if took := time.Since(forced); took > checkInterval+500*time.Millisecond {
		t.Errorf("weight 0 after %s, want within a check interval and 0.5 s", took)
	}

	status := "" // lb ctl status ends with 1 for a service that is down
	if out, err := s.RunLB(t.Context(), app.Host, "ctl", "status", "webapp"); err == nil {
		t.Errorf("lb ctl status of a forced-down service succeeded:\n%s", out)
	} else {
		status = out
	}
	for _, want := range []string{"Health: 0\n", "Forced Reason: apt upgrades\n"} {
		if !strings.Contains(status, want) {
			t.Errorf("status lacks %q:\n%s", want, status)
		}
	}

	// New connections avoid the node, established ones continue.
	waitForRequests(t, traffic)
	before := app.Served()
	counts := s.SendRequests(t.Context(), 100, 4)
	if served := app.Served() - before; served != 0 || counts.Failed != 0 {
		t.Errorf("app02 served %d new connections after weight 0; failed %d: %v", served, counts.Failed, counts.LastError)
	}
	for node, stream := range established {
		if got := stream.ping(t); got != node {
			t.Errorf("%q responds on the connection to %s after the force", got, node)
		}
	}

	runLB(t, s, app.Host, "ctl", "force", "down", "webapp", "-d")
	back := recordWeights(t, s)
	waitForWeight(t, s, 100)
	ramp := []int{}
	for _, w := range back() {
		ramp = append(ramp, w["10.0.0.2"])
	}
	if len(ramp) < 4 {
		t.Errorf("app02's weights after the force: %v, want a ramp-up", ramp)
	}
	if counts := traffic.Stop(); counts.Failed != 0 {
		t.Errorf("%d requests failed: %v", counts.Failed, counts.LastError)
	}
}

// waitForRequests waits until 20 more requests are answered, so that earlier ones have ended.
func waitForRequests(t *testing.T, traffic *testbed.Traffic) {
	t.Helper()
	start := traffic.Counts().Answered
	labtest.Eventually(t, timeout, "20 more requests are answered", func() (bool, string) {
		n := traffic.Counts().Answered - start
		return n >= 20, fmt.Sprint(n)
	})
}

// stream is one long-lived connection through the VIP.
type stream struct {
	conn  net.Conn
	lines *bufio.Reader
}

// openStreams opens connections until there is one to each node, and returns them by node name.
func openStreams(t *testing.T, s *testbed.Site) map[string]*stream {
	t.Helper()
	streams := map[string]*stream{}
	for range 20 {
		conn, err := s.Client.Dial(t.Context(), "tcp", fmt.Sprintf("%s:%d", testbed.VIP, testbed.Port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := fmt.Fprintf(conn, "GET /stream HTTP/1.1\r\nHost: webapp\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		st := &stream{conn: conn, lines: bufio.NewReader(conn)}
		streams[st.ping(t)] = st
		if len(streams) == len(s.ConfiguredApps()) {
			return streams
		}
	}
	t.Fatalf("20 connections reached only %d nodes", len(streams))
	return nil
}

// ping sends a line and returns the name of the node that responds.
func (s *stream) ping(t *testing.T) string {
	t.Helper()
	if err := s.conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintln(s.conn, "who?"); err != nil {
		t.Fatal(err)
	}
	line, err := s.lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// TestReusedPortDoesNotReachADrainedNode checks the effect of expire_nodest_conn, which set_sysctls sets. The kernel remembers a closed
// connection for two minutes, and by default sends a new one from the same client port to the same node, whatever its weight.
func TestReusedPortDoesNotReachADrainedNode(t *testing.T) {
	s := newSite(t, nil)
	waitForWeight(t, s, 100)
	port := 20000
	for transactFrom(t, s, port) != "app02" {
		port++
	}
	runLB(t, s, s.Apps[1].Host, "ctl", "force", "down", "webapp", "-r", "apt upgrades")
	labtest.Eventually(t, timeout, "app02 at weight 0", func() (bool, string) {
		got := readWeights(t, s)
		return got["10.0.0.2"] == 0, fmt.Sprint(got)
	})
	if node := transactFrom(t, s, port); node == "app02" {
		t.Errorf("port %d still reaches app02, which is at weight 0", port)
	}
}

// transactFrom sends a transaction from a client port and returns the name of the node that responds.
func transactFrom(t *testing.T, s *testbed.Site, port int) string {
	t.Helper()
	var body []byte
	err := s.Client.Do(func() error {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{Port: port}, Timeout: timeout}
		conn, err := dialer.DialContext(t.Context(), "tcp", fmt.Sprintf("%s:%d", testbed.VIP, testbed.Port))
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
			return err
		}
		const request = "POST /transactions HTTP/1.1\r\nHost: webapp\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
		if _, err := io.WriteString(conn, request); err != nil {
			return err
		}
		lines := bufio.NewReader(conn)
		answer, err := http.ReadResponse(lines, nil)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if body, err = io.ReadAll(answer.Body); err != nil {
			return err
		}
		_, err = lines.Peek(1) // the node closes first, so that the port is free immediately
		if errors.Is(err, io.EOF) {
			return nil
		}
		return fmt.Errorf("data after the response, or %w", err)
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestForcesSurviveAnAgentKill(t *testing.T) {
	s := newSite(t, nil)
	waitForWeight(t, s, 100)
	app := s.Apps[1]
	runLB(t, s, app.Host, "ctl", "force", "health", "40", "webapp", "-r", "half a day")
	labtest.Eventually(t, timeout, "app02 at weight 40", func() (bool, string) {
		got := readWeights(t, s)
		return got["10.0.0.2"] == 40, fmt.Sprint(got)
	})
	if err := app.Agent.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := app.Agent.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, timeout, "the force is kept and health is measured again", func() (bool, string) {
		out, _ := s.RunLB(t.Context(), app.Host, "ctl", "status", "webapp") // fails until the first checks finish
		return strings.Contains(out, "Health: 40\nMeasured Health: 100\nForced Reason: half a day 40\n"), out
	})
	labtest.Eventually(t, timeout, "app02 at weight 40 again", func() (bool, string) {
		got := readWeights(t, s)
		return got["10.0.0.2"] == 40, fmt.Sprint(got)
	})
}
