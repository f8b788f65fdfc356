package doctor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	agentapi "github.com/braintree/lb/agent/api"
	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/client"
)

// answerTime is how long a daemon has to answer.
const answerTime = 5 * time.Second

// lookAtBalancer looks at the running lb balance: its version, and what it reports.
func lookAtBalancer(ctx context.Context, m *Machine) ([]Finding, error) {
	var status api.Status
	if f := ask(ctx, client.Balancer(), m.config.Balancer.Control, "/", &status); f != nil {
		return []Finding{*f}, nil
	}
	return append(examineVersion(client.Balancer(), status.Version, m.version), examineStatus(status)...), nil
}

// lookAtAgent looks at the running lb agent: its version.
func lookAtAgent(ctx context.Context, m *Machine) ([]Finding, error) {
	var list agentapi.Report
	if f := ask(ctx, client.Agent(), m.config.Agent.Control, "/", &list); f != nil {
		return []Finding{*f}, nil
	}
	return examineVersion(client.Agent(), list.Version, m.version), nil
}

// ask requests a page in JSON. It returns a finding if it fails.
func ask(ctx context.Context, d client.Daemon, socket, path string, v any) *Finding {
	c, err := client.New(d, socket)
	if err == nil {
		var r client.Response
		r, err = c.Do(ctx, client.Request{Path: path, JSON: true, Timeout: answerTime})
		if err == nil {
			err = r.Err()
		}
		if err == nil {
			err = r.Decode(v)
		}
	}
	if err == nil {
		return nil
	}
	f := bad(d.Name+" does not answer", err.Error(), "`systemctl status "+d.Unit+"`")
	if errors.Is(err, os.ErrPermission) {
		f = unknown(d.Name, err.Error(), fixUnknown(err))
	}
	return &f
}

func examineVersion(d client.Daemon, running, installed string) []Finding {
	if running == installed {
		return []Finding{good("%s runs, version %s", d.Name, running)}
	}
	return []Finding{bad(fmt.Sprintf("%s runs version %s, this is %s", d.Name, running, installed),
		"an upgrade takes effect only after a restart", "`systemctl restart "+d.Unit+"`")}
}

// examineStatus lists what lb balance reports as wrong: each error and problem once, with the clusters that have it.
func examineStatus(s api.Status) []Finding {
	var found []Finding
	for _, c := range s.Clusters {
		if c.LastError != "" {
			found = append(found, bad("the kernel rejects what lb balance wants", c.LastError,
				"`lb ctl cluster status CLUSTER`").of(c.Name))
		}
		for _, p := range c.Problems {
			found = append(found, bad(p.Text, "lb balance reports it as a problem", p.Fix).of(c.Name))
		}
	}
	if len(found) == 0 {
		found = append(found, good("lb balance reports no error and no problem"))
	}
	if s.Refused == nil {
		return append(found, good("the last reload was not refused"))
	}
	return append(found, bad("the last reload was refused, at "+s.Refused.At.Format(time.RFC3339),
		"an older configuration is in effect: "+s.Refused.Error, "`lb ctl check-config`, then `lb ctl reload`"))
}

// lookAtBalancerLimits looks at the limit of open files of lb balance.
func lookAtBalancerLimits(_ context.Context, m *Machine) ([]Finding, error) {
	need := 2*256 + 128 // clients on both listeners, files and sockets of its own
	for _, c := range m.config.Clusters {
		need += len(c.Nodes) + len(c.Sites)
	}
	return m.lookAtOpenFiles(client.Balancer(), m.config.Balancer.Control, need)
}

// lookAtAgentLimits looks at the limit of open files of lb agent.
func lookAtAgentLimits(_ context.Context, m *Machine) ([]Finding, error) {
	need := 2048 + 128 // clients, most of them streams, and files and sockets of its own
	for _, s := range m.config.Services {
		need += 3 * (len(s.Depends) + len(s.Metrics))
	}
	return m.lookAtOpenFiles(client.Agent(), m.config.Agent.Control, need)
}

func (m *Machine) lookAtOpenFiles(d client.Daemon, socket string, need int) ([]Finding, error) {
	pid, err := peer(d, m.path(socket))
	if err != nil {
		return nil, err
	}
	f, err := os.Open(m.path(fmt.Sprintf("/proc/%d/limits", pid)))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "Max open files"); ok {
			return examineOpenFiles(d, strings.Fields(rest), need)
		}
	}
	return nil, errors.New("/proc has no limit of open files")
}

func examineOpenFiles(d client.Daemon, fields []string, need int) ([]Finding, error) {
	if len(fields) == 0 {
		return nil, errors.New("/proc has no limit of open files")
	}
	limit, err := strconv.Atoi(fields[0])
	switch {
	case fields[0] == "unlimited" || err == nil && limit >= need:
		return []Finding{good("%s may open %s files", d.Name, fields[0])}, nil
	case err != nil:
		return nil, err
	}
	return []Finding{bad(fmt.Sprintf("%s may open %d files", d.Name, limit),
		fmt.Sprintf("with all its connections it needs %d, and refuses or loses some", need),
		fmt.Sprintf("LimitNOFILE=%d in `systemctl edit %s`, then restart it", 2*need, d.Unit))}, nil
}

// silent is the error of a promise that only a running daemon can keep. Another finding says why the daemon does not answer.
func silent(d client.Daemon, err error) error {
	if errors.Is(err, os.ErrPermission) {
		return err
	}
	return errors.New(d.Name + " does not answer")
}

// peer is the process of a daemon, which listens at a Unix socket.
func peer(d client.Daemon, socket string) (int32, error) {
	c, err := net.DialTimeout("unix", socket, answerTime)
	if err != nil {
		return 0, silent(d, err)
	}
	defer c.Close()
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var credentials *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		credentials, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, failed); err != nil {
		return 0, err
	}
	return credentials.Pid, nil
}
