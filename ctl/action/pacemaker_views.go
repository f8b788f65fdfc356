package action

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/config/salvage"
	"github.com/braintree/lb/netx"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
	"github.com/braintree/lb/netx/program"
	"github.com/braintree/lb/netx/sanitize"
	"github.com/braintree/lb/ocf/consistency"
	"github.com/braintree/lb/ocf/crm"
)

const (
	// toolTimeout bounds one of Pacemaker's tools. They wait for a daemon of Pacemaker, which may hang; a busy machine takes seconds to
	// print the XML.
	toolTimeout = 30 * time.Second
	// maxToolOutput bounds a tool's output, in bytes; a resource takes some 400.
	maxToolOutput = 16 << 20
	// daemonTimeout bounds lb balance's response, as in the resource agent.
	daemonTimeout = 4 * time.Second
)

// ViewSources are what PacemakerViews reads, besides Pacemaker's tools and this machine's interfaces.
type ViewSources struct {
	ConfigPath string
	Load       config.Loader
	Balancer   *client.Client
	OpenTable  func() (ipvs.Table, error)
}

// PacemakerViews reads what Pacemaker, lb balance and the kernel report. A source that gives nothing becomes part of the views; only
// failing to read the kernel is an error.
func PacemakerViews(ctx context.Context, s ViewSources) (consistency.Views, error) {
	kernel, err := readKernel(ctx, s.OpenTable)
	if err != nil {
		return consistency.Views{}, err
	}
	v := consistency.Views{
		Config: readConfig(s.ConfigPath, s.Load), Daemon: readDaemon(ctx, s.Balancer), Kernel: kernel, Pacemaker: readPacemaker(ctx),
	}
	v.Machine, err = machineName(ctx, v.Pacemaker.Status)
	return v, err
}

// readConfig reads as much of the configuration as possible.
func readConfig(path string, load config.Loader) consistency.Config {
	v := consistency.Config{Path: path}
	found, _ := salvage.Read(path) // an unreadable file gives no marks
	v.Marks = found.Marks
	cfg, err := load(path)
	var diagnostics config.Diagnostics
	switch {
	case err == nil:
		v.Clusters = cfg.Clusters
	case errors.As(err, &diagnostics) && len(diagnostics) > 1:
		v.Invalid = fmt.Sprintf("it has %d errors", len(diagnostics))
	default:
		v.Invalid = err.Error()
	}
	return v
}

func readDaemon(ctx context.Context, balancer *client.Client) consistency.Daemon {
	var v consistency.Daemon
	r, err := balancer.Do(ctx, client.Request{Path: "/", JSON: true, Timeout: daemonTimeout})
	if err == nil {
		err = r.Err()
	}
	if err == nil {
		err = r.Decode(&v.Status)
	}
	if err != nil {
		return consistency.Daemon{Error: err.Error(), Status: api.Status{}}
	}
	return v
}

// readKernel reads the kernel's tables and addresses. Without IPVS or nftables, the kernel's tables are empty.
func readKernel(ctx context.Context, openTable func() (ipvs.Table, error)) (consistency.Kernel, error) {
	var v consistency.Kernel
	table, err := openTable()
	if err == nil {
		defer table.Close()
		v.Services, err = table.Dump(ctx)
	}
	if err != nil && !errors.Is(err, netx.ErrNoIPVS) {
		return v, err
	}
	marks, err := mark.NewKernel()
	if err == nil {
		defer marks.Close()
		v.Rules, err = marks.List(ctx)
	}
	if err != nil && !errors.Is(err, mark.ErrNoNftables) {
		return v, err
	}
	v.Addresses, err = localAddresses()
	return v, err
}

// localAddresses lists the addresses of all interfaces.
func localAddresses() ([]consistency.Address, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list the interfaces: %w", err)
	}
	var all []consistency.Address
	for _, i := range interfaces {
		addresses, err := i.Addrs()
		if err != nil {
			return nil, fmt.Errorf("list the addresses of %s: %w", i.Name, err)
		}
		for _, a := range addresses {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				all = append(all, consistency.Address{Interface: i.Name, Address: p.Addr()})
			}
		}
	}
	return all, nil
}

// readPacemaker runs Pacemaker's tools.
func readPacemaker(ctx context.Context) consistency.Pacemaker {
	var v consistency.Pacemaker
	result := runTool(ctx, "crm_mon", crm.StatusArguments()...)
	status, err := crm.ParseStatus([]byte(result.Stdout))
	if err != nil {
		v.Error = toolFinding("crm_mon", result, err)
		return v
	}
	result = runTool(ctx, "cibadmin", crm.ConfigurationArguments()...)
	configuration, err := crm.ParseConfiguration([]byte(result.Stdout))
	if err != nil {
		v.Error = toolFinding("cibadmin", result, err)
		return v
	}
	v.Status, v.Configuration = status, configuration
	return v
}

func runTool(ctx context.Context, name string, args ...string) program.Result {
	ctx, cancel := context.WithTimeout(ctx, toolTimeout)
	defer cancel()
	return program.Command{Argv: append([]string{name}, args...), MaxOutput: maxToolOutput}.Run(ctx)
}

// toolFinding says why a tool gave nothing. err is the error of parsing its output.
func toolFinding(name string, result program.Result, err error) *consistency.Finding {
	f := consistency.Finding{Level: consistency.Problem}
	var toolError *crm.ToolError
	switch {
	case errors.Is(result.Err, exec.ErrNotFound), errors.Is(result.Err, fs.ErrNotExist):
		f.Code, f.Text = "pacemaker-not-installed", fmt.Sprintf("Pacemaker is not installed on this machine: no %s in PATH", name)
		f.Fix = "`apt-get install pacemaker pacemaker-cli-utils corosync resource-agents crmsh`, then docs/runbook.md"
	case errors.Is(result.Err, context.DeadlineExceeded):
		f.Code, f.Text = "pacemaker-hangs", fmt.Sprintf("Pacemaker hangs: %s timed out after %s", name, toolTimeout)
		f.Fix = "`journalctl -u corosync -u pacemaker` shows why; if it lasts, the other machines fence this one"
	case errors.As(err, &toolError) && toolError.Code == crm.NotConnected:
		f.Code = "pacemaker-not-running"
		f.Text = fmt.Sprintf("Pacemaker is not running on this machine (%v): resources here are as they were when it stopped", toolError)
		f.Fix = "`systemctl start corosync pacemaker`; if they stop again, `journalctl -u corosync -u pacemaker` shows why"
	default:
		f.Code, f.Text = "pacemaker-silent", fmt.Sprintf("%s failed: %v", name, err)
		if words := result.Message(); words != "" && toolError == nil {
			f.Text += "; its output: " + sanitize.Line(words, 200)
		}
		f.Fix = "`systemctl status corosync pacemaker`"
	}
	return &f
}

// machineName is Pacemaker's name for this machine: the host name, unless corosync.conf sets another.
func machineName(ctx context.Context, s crm.Status) (string, error) {
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("find this machine's name: %w", err)
	}
	if len(s.Machines) == 0 || slices.ContainsFunc(s.Machines, func(m crm.Machine) bool { return m.Name == name }) {
		return name, nil
	}
	if result := runTool(ctx, "crm_node", "--name"); result.Err == nil && strings.TrimSpace(result.Stdout) != "" {
		name = strings.TrimSpace(result.Stdout)
	}
	return name, nil
}
