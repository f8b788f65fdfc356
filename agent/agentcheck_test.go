package agent

import (
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/braintree/lb/agent/agenttest"
	"github.com/braintree/lb/agent/server"
	"github.com/braintree/lb/config"
)

// freeAddress is an unused address: a random one in 127.0.0.0/8, with a port below the kernel's ephemeral ports.
func freeAddress(t *testing.T) string {
	t.Helper()
	n := rand.Uint32()
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, byte(1 + n%254), byte(n >> 8), byte(1 + n>>16%254)}), 9300).String()
}

// agentCheck polls an agent-check port as HAProxy does.
func agentCheck(t *testing.T, address, send string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, send); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if err != nil {
		t.Errorf("%s, %q: %v", address, send, err)
	}
	return string(got)
}

// haproxyConfig has the services of the recorded litmus-agent-check session: webapp with health 85 and the
// given dependency, and zero.
func haproxyConfig(t *testing.T, dir, dependency string) (cfg *config.Config, shared, own string) {
	t.Helper()
	web := webapp(dependency)
	web.AgentCheck = freeAddress(t)
	cfg = configIn(dir, web, config.Service{Name: "zero", Metrics: []config.Check{constant(0)}})
	cfg.Agent.AgentCheck = freeAddress(t)
	return cfg, cfg.Agent.AgentCheck, web.AgentCheck
}

// TestAgentChecksFollowTheForces replays the recorded session of litmus-agent-check 1.6.2. The answers differ
// where it is wrong: it reports services with health 0 as ready and up, and uses words that HAProxy does not
// know.
func TestAgentChecksFollowTheForces(t *testing.T) {
	const up, down, drain, full = "ready\tup\t85%\r\n", "down\t0%\r\n", "drain\t0%\r\n", "ready\tup\t100%\r\n"
	for _, tc := range []struct {
		dependency string
		forces     [][2]string // path and form
		want       string
	}{
		{"true", nil, up},
		{"false", nil, down},
		{"false", [][2]string{{"/webapp/down", "reason=maint"}}, drain},
		{"false", [][2]string{{"/webapp/up", "reason=up"}}, full},
		{"true", [][2]string{{"/webapp/health", "reason=cap&health=42"}}, "ready\tup\t42%\r\n"},
		{"true", [][2]string{{"/webapp/health", "reason=cap&health=0"}}, drain},  // fault 16: litmus reports ready up 0%
		{"false", [][2]string{{"/webapp/health", "reason=cap&health=42"}}, down}, // fault 16: litmus reports ready up 0%
		{"true", [][2]string{{"/down", "reason=g"}, {"/webapp/up", "reason=u"}}, drain},
		{"true", [][2]string{{"/up", "reason=g"}}, full},
	} {
		name := tc.dependency
		for _, f := range tc.forces {
			name += " " + f[0] + " " + f[1]
		}
		t.Run(name, func(t *testing.T) {
			cfg, shared, own := haproxyConfig(t, shortDir(t), tc.dependency)
			b, _ := running(t, cfg)
			for _, f := range tc.forces {
				if r := b.do(server.Socket, "POST", f[0], f[1]); r.StatusCode != 201 {
					t.Fatalf("POST %s: %d %s", f[0], r.StatusCode, bodyOf(t, r))
				}
			}
			for _, got := range []string{agentCheck(t, shared, "webapp\n"), agentCheck(t, own, "")} {
				if got != tc.want {
					t.Errorf("%q, want %q", got, tc.want)
				}
			}
			// litmus-agent-check answers failed#NOT_FOUND, which HAProxy ignores, so that the server keeps its weight.
			if got := agentCheck(t, shared, "nope\n"); got != "fail #this agent has no service nope\r\n" {
				t.Errorf("an unknown service: %q", got)
			}
		})
	}
}

func TestAReloadOpensAndClosesAgentCheckPorts(t *testing.T) {
	dir := shortDir(t)
	cfg, shared, own := haproxyConfig(t, dir, "true")
	b, _ := running(t, cfg)
	next := *cfg
	next.Services = []config.Service{webapp("true"), {Name: "zero", AgentCheck: freeAddress(t), Metrics: []config.Check{constant(7)}}}
	b.configure(&next, nil)
	b.reload <- struct{}{}
	eventually(t, "the reload is done", func() bool { return b.log.Count("msg=reloaded") == 1 })
	if got := agentCheck(t, shared, "webapp\n"); got != "ready\tup\t85%\r\n" {
		t.Errorf("the port that stays: %q", got)
	}
	if got := agentCheck(t, next.Services[1].AgentCheck, ""); got != "ready\tup\t7%\r\n" {
		t.Errorf("the new port: %q", got)
	}
	if _, err := net.Dial("tcp", own); err == nil {
		t.Error("the removed port is still open")
	}

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	third := next
	third.Agent.AgentCheck = taken.Addr().String()
	b.configure(&third, nil)
	b.reload <- struct{}{}
	eventually(t, "the reload is refused", func() bool {
		return b.log.Count("reload refused", taken.Addr().String(), "in use", "agent.agent_check") == 1
	})
	if got := agentCheck(t, shared, "zero\n"); got != "ready\tup\t7%\r\n" {
		t.Errorf("after the refused reload: %q", got)
	}
}

func TestAnAgentCheckPortThatCannotBeBoundFailsTheStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	cfg, shared, _ := haproxyConfig(t, shortDir(t), "true")
	cfg.Services[0].AgentCheck = taken.Addr().String()
	b := &bench{log: &agenttest.Log{}, cfg: cfg}
	if _, err := New(t.Context(), b.options()); err == nil || !strings.Contains(err.Error(), "services.webapp.agent_check") {
		t.Errorf("New = %v", err)
	}
	if _, err := net.Dial("tcp", shared); err == nil {
		t.Error("another port is left open")
	}
}
