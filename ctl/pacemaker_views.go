package ctl

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

	"github.com/urfave/cli/v2"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/config/salvage"
	"github.com/braintree/lb/netx"
	"github.com/braintree/lb/netx/mark"
	"github.com/braintree/lb/netx/program"
	"github.com/braintree/lb/netx/sanitize"
	"github.com/braintree/lb/ocf/consistency"
	"github.com/braintree/lb/ocf/crm"
)

const (
	// toolLimit bounds one of Pacemaker's tools: they wait for a daemon of Pacemaker, which may hang. A machine that is busy enough takes seconds for the XML alone.
	toolLimit = 30 * time.Second
	// toolOutput is the most that one may say, in bytes; a resource takes some 400.
	toolOutput = 16 << 20
	// daemonLimit bounds lb balance's answer. The resource agent gives it as long.
	daemonLimit = 4 * time.Second
)

// views asks all three. Only what keeps it from reading the kernel, and wrong flags, are errors: the rest is what it is to tell.
func (con Console) views(c *cli.Context) (consistency.Views, error) {
	b, err := con.balancer(c)
	if err != nil {
		return consistency.Views{}, err
	}
	kernel, err := con.kernelView(c.Context)
	if err != nil {
		return consistency.Views{}, err
	}
	v := consistency.Views{Config: con.configView(c.String("config")), Daemon: daemonView(c.Context, b), Kernel: kernel, Pacemaker: pacemakerView(c.Context)}
	v.Machine, err = machineName(c.Context, v.Pacemaker.Status)
	return v, err
}

// configView reads the configuration as far as it goes.
func (con Console) configView(path string) consistency.Config {
	v := consistency.Config{Path: path}
	found, _ := salvage.Read(path) // what cannot be read is not known
	v.Marks = found.Marks
	cfg, err := con.Load(path)
	var mistakes config.Mistakes
	switch {
	case err == nil:
		v.Clusters = cfg.Clusters
	case errors.As(err, &mistakes) && len(mistakes) > 1:
		v.Broken = fmt.Sprintf("it has %d mistakes", len(mistakes))
	default:
		v.Broken = err.Error()
	}
	return v
}

// daemonView asks lb balance.
func daemonView(ctx context.Context, b *client.Client) consistency.Daemon {
	var v consistency.Daemon
	a, err := b.Ask(ctx, client.Question{Path: "/", JSON: true, Limit: daemonLimit})
	if err == nil {
		err = a.Err(client.Balancer())
	}
	if err == nil {
		err = a.Decode(client.Balancer(), &v.Status)
	}
	if err != nil {
		return consistency.Daemon{Trouble: err.Error(), Status: api.Status{}}
	}
	return v
}

// kernelView reads the kernel's tables and addresses. A kernel without IPVS or nftables has nothing in them.
func (con Console) kernelView(ctx context.Context) (consistency.Kernel, error) {
	var v consistency.Kernel
	table, err := con.OpenTable()
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

// localAddresses are those of all interfaces.
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

// pacemakerView asks Pacemaker's tools.
func pacemakerView(ctx context.Context) consistency.Pacemaker {
	var v consistency.Pacemaker
	said := tool(ctx, "crm_mon", crm.StatusArguments()...)
	status, err := crm.ParseStatus([]byte(said.Stdout))
	if err != nil {
		v.Trouble = silence("crm_mon", said, err)
		return v
	}
	said = tool(ctx, "cibadmin", crm.ConfigurationArguments()...)
	told, err := crm.ParseConfiguration([]byte(said.Stdout))
	if err != nil {
		v.Trouble = silence("cibadmin", said, err)
		return v
	}
	v.Status, v.Told = status, told
	return v
}

// tool runs one of Pacemaker's.
func tool(ctx context.Context, name string, args ...string) program.Result {
	ctx, cancel := context.WithTimeout(ctx, toolLimit)
	defer cancel()
	return program.Command{Argv: append([]string{name}, args...), MaxOutput: toolOutput}.Run(ctx)
}

// silence says why a tool told nothing.
func silence(name string, said program.Result, err error) *consistency.Finding {
	f := consistency.Finding{Level: consistency.Trouble}
	var refusal *crm.Refusal
	switch {
	case errors.Is(said.Err, exec.ErrNotFound), errors.Is(said.Err, fs.ErrNotExist):
		f.Code, f.Says = "pacemaker-not-installed", fmt.Sprintf("Pacemaker is not installed here: there is no %s in PATH", name)
		f.Do = "`apt-get install pacemaker pacemaker-cli-utils corosync resource-agents crmsh`, then docs/runbook.md"
	case errors.Is(said.Err, context.DeadlineExceeded):
		f.Code, f.Says = "pacemaker-hangs", fmt.Sprintf("Pacemaker hangs: %s got no answer within %s", name, toolLimit)
		f.Do = "`journalctl -u corosync -u pacemaker` tells why; the other machines fence this one if it goes on"
	case errors.As(err, &refusal) && refusal.Code == crm.NotConnected:
		f.Code, f.Says = "pacemaker-not-running", fmt.Sprintf("Pacemaker does not run on this machine (%v): what runs here is what was running when it ended", refusal)
		f.Do = "`systemctl start corosync pacemaker`; if they do not stay up, `journalctl -u corosync -u pacemaker` tells why"
	default:
		f.Code, f.Says = "pacemaker-silent", fmt.Sprintf("%s tells nothing: %v", name, err)
		if words := said.Message(); words != "" && refusal == nil {
			f.Says += "; it says " + sanitize.Line(words, 200)
		}
		f.Do = "`systemctl status corosync pacemaker`"
	}
	return &f
}

// machineName is Pacemaker's name for this machine: the host's own name, unless corosync.conf gives it another one.
func machineName(ctx context.Context, s crm.Status) (string, error) {
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("find this machine's name: %w", err)
	}
	if len(s.Machines) == 0 || slices.ContainsFunc(s.Machines, func(m crm.Machine) bool { return m.Name == name }) {
		return name, nil
	}
	if said := tool(ctx, "crm_node", "--name"); said.Err == nil && strings.TrimSpace(said.Stdout) != "" {
		name = strings.TrimSpace(said.Stdout)
	}
	return name, nil
}
