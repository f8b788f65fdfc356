//go:build lab

package agentcheck

import (
	"encoding/csv"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/braintree/lb/agent/score"
)

// agentInter is HAProxy's agent-inter in these tests. The allowance is for HAProxy, which polls 200 ms later
// without agent-send (the kernel then delays the acknowledgement of the handshake), and for slow emulated
// machines.
const (
	agentInter = time.Second
	allowed    = agentInter + 500*time.Millisecond
)

// services is a fake of the agent's services.
type services struct {
	mu    sync.Mutex
	state map[string]State
	polls map[string]int // since the last set
}

func (s *services) find(name string) (State, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.polls[name]++
	state, known := s.state[name]
	return state, known
}

// set changes the state of all services.
func (s *services) set(state State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.state {
		s.state[name], s.polls[name] = state, 0
	}
}

func (s *services) pollsOf(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.polls[name]
}

// startHAProxy runs a real HAProxy and returns the path of its stats socket. In its backend web, the server
// shared polls the shared port for the service shared, the server own polls the port of the service own, and
// the server typo polls the shared port for an unknown service.
func startHAProxy(t *testing.T, shared, own net.Addr) string {
	t.Helper()
	app, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { app.Close() })
	dir := t.TempDir()
	socket, file := filepath.Join(dir, "stats.sock"), filepath.Join(dir, "haproxy.cfg")
	agent := fmt.Sprintf("%s weight 200 check inter 500ms agent-check agent-inter %s", app.Addr(), agentInter)
	conf := fmt.Sprintf(`global
  stats socket %s level admin
defaults
  mode tcp
  timeout connect 5s
  timeout client 5s
  timeout server 5s
backend web
  server shared %s agent-port %d agent-send "shared\n"
  server own %s agent-port %d
  server typo %s agent-port %d agent-send "sahred\n"
`, socket, agent, shared.(*net.TCPAddr).Port, agent, own.(*net.TCPAddr).Port, agent, shared.(*net.TCPAddr).Port)
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	var output strings.Builder
	cmd := exec.Command("haproxy", "-q", "-db", "-f", file)
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatalf("start HAProxy (apt-get install haproxy): %v", err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("HAProxy printed: %s", output.String())
		}
	})
	return socket
}

// serverStates is the state of each server in HAProxy: its status, its weight, and the latest answer of the agent.
func serverStates(t *testing.T, socket string) map[string]string {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil // it has not started yet
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "show stat\n"); err != nil {
		t.Fatal(err)
	}
	records, err := csv.NewReader(conn).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	column := map[string]int{}
	for i, name := range records[0] {
		column[name] = i
	}
	found := map[string]string{}
	for _, r := range records[1:] {
		answer := strings.TrimPrefix(r[column["last_agt"]], "via agent : ")
		found[r[column["svname"]]] = strings.TrimSpace(r[column["status"]] + " " + r[column["weight"]] + " " + answer)
	}
	return found
}

func TestARealHAProxyFollowsTheAgent(t *testing.T) {
	s := &services{state: map[string]State{"shared": {}, "own": {}}, polls: map[string]int{}}
	s.set(State{Health: 85, Measured: 85})
	addrs := map[string]net.Addr{}
	ports := &bench{t: t, addrs: addrs, opened: map[string]int{}}
	server := New(Options{Find: s.find, Log: slog.New(slog.DiscardHandler), Listen: ports.listen})
	t.Cleanup(server.Close)
	change, err := server.Prepare(t.Context(), []Port{{Address: "shared"}, {Address: "own", Service: "own"}})
	if err != nil {
		t.Fatal(err)
	}
	change.Commit()
	socket := startHAProxy(t, addrs["shared"], addrs["own"])
	// await waits until HAProxy has the servers in a state. It returns the number of polls of each since the
	// last change.
	await := func(within time.Duration, want string, servers ...string) map[string]int {
		t.Helper()
		start, got, polls := time.Now(), map[string]string{}, map[string]int{}
		ticker := time.NewTicker(10 * time.Millisecond)
		defer ticker.Stop()
		for ; time.Since(start) < within && len(polls) < len(servers); <-ticker.C {
			got = serverStates(t, socket)
			for _, server := range servers {
				if _, done := polls[server]; !done && strings.HasPrefix(got[server], want) {
					polls[server] = s.pollsOf(server)
					t.Logf("%s: %q after %s", server, got[server], time.Since(start).Round(time.Millisecond))
				}
			}
		}
		if len(polls) < len(servers) {
			t.Errorf("want %q of %q within %s, but they are %q", want, servers, within, got)
		}
		return polls
	}

	// Weights are shares of the configured 200.
	await(30*time.Second, "UP 170 up", "shared", "own")
	for _, tc := range []struct {
		state State
		want  string
	}{
		{State{Health: 42, Measured: 42}, "UP 84 up"},
		{State{Health: 1, Measured: 1}, "UP 2 up"},
		{State{Health: 0, Measured: 0}, "DOWN (agent) 0 down"},
		{State{Health: 85, Measured: 85}, "UP 170 up"},
		{State{Health: 0, Measured: 85, Forced: score.Down}, "DRAIN (agent) 0"},
		{State{Health: 85, Measured: 85}, "UP 170 up"},
		{State{Health: 0, Measured: 85, Forced: score.Health}, "DRAIN (agent) 0"},
		{State{Health: 0, Measured: 0, Forced: score.Health}, "DOWN (agent) 0 down"},
		{State{Health: 100, Measured: 0, Forced: score.Up}, "UP 200 up"},
	} {
		s.set(tc.state)
		for server, n := range await(allowed, tc.want, "shared", "own") {
			if n != 1 {
				t.Errorf("server %s is %q after %d polls", server, tc.want, n)
			}
		}
	}
	await(allowed, "DOWN (agent) 200 fail (this agent has no service sahred)", "typo")

	// Without the agent, HAProxy keeps the latest answer and relies on its own check.
	server.Close()
	await(allowed, "UP 200 Connection refused", "shared")
}
