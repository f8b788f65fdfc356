package agent

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/braintree/lb/agent/agenttest"
	"github.com/braintree/lb/config"
)

// runAsProcess runs an agent in a separate process, for tests that kill it.
func runAsProcess(dir string) {
	log := &agenttest.Log{}
	a, err := New(context.Background(), Options{
		Load: func() (*config.Config, error) { return configIn(dir, webapp("true")), nil }, Log: log.Logger(), Version: "1.2.3",
		Ready: func() { fmt.Println("ready") },
	})
	if err == nil {
		a.resultsTimeout = patience
		err = a.Run(context.Background())
	}
	fmt.Println("ended:", err, log)
}

// startProcess starts an agent in a separate process and waits until it is ready.
func startProcess(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "AGENT_TEST_DIR="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		cmd.Process.Kill()
		t.Fatalf("the agent printed %q", line)
	}
	return cmd
}

func TestForcesSurviveKill9OfTheAgent(t *testing.T) {
	dir := shortDir(t)
	socket := client(filepath.Join(dir, "agent.sock"))
	status := func() string {
		t.Helper()
		r, err := socket.Get("http://agent/webapp/status")
		if err != nil {
			t.Fatal(err)
		}
		return bodyOf(t, r)
	}
	kill := func(cmd *exec.Cmd) {
		t.Helper()
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait() // returns an error: it was killed
	}

	first := startProcess(t, dir)
	r, err := socket.PostForm("http://agent/webapp/down", map[string][]string{"reason": {"apt upgrades"}, "who": {"kim"}})
	if err != nil || r.StatusCode != http.StatusCreated {
		t.Fatalf("force: %v, %v", r, err)
	}
	bodyOf(t, r)
	before := status()
	kill(first)

	second := startProcess(t, dir) // replaces the stale socket
	defer kill(second)
	if after := status(); after != before || !strings.HasPrefix(after, "Health: 0\nMeasured Health: 85\nForced Reason: apt upgrades\n") {
		t.Errorf("before the kill:\n%s\nafter it:\n%s", before, after)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, "http://agent/webapp/down", nil)
	if err != nil {
		t.Fatal(err)
	}
	if r, err = socket.Do(req); err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("delete: %v, %v", r, err)
	}
	bodyOf(t, r)
	if after := status(); !strings.HasPrefix(after, "Health: 85\n") {
		t.Errorf("after the delete:\n%s", after)
	}
}

func TestStoppingKillsProcessesOfChecks(t *testing.T) {
	dir := shortDir(t)
	file := filepath.Join(dir, "pid")
	hung := depends("script", map[string]any{"command": "echo $$ > " + file + "; sleep 1000"})
	hung.Timeout = time.Hour
	b := &bench{log: &agenttest.Log{}, cfg: configIn(dir, config.Service{Name: "web", Depends: []config.Check{hung}})}
	a, err := New(t.Context(), b.options())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- a.Run(ctx) }()
	var pid string
	eventually(t, "the script runs", func() bool {
		data, _ := os.ReadFile(file)
		pid = strings.TrimSpace(string(data))
		return pid != ""
	})
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/proc/" + pid); err == nil {
		t.Errorf("process %s of a check is still running", pid)
	}
}
