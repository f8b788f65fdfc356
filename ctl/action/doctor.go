package action

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/tunnel"
)

// ErrUnsafeKernel reports that a kernel setting is not as lb needs it. The printed result already says which.
var ErrUnsafeKernel = errors.New("the kernel is not set up as lb needs it")

// diagnosis is the result of examining one setting of the kernel.
type diagnosis struct {
	Good bool   `json:"good"`
	What string `json:"what"` // the setting and its state
	Why  string `json:"why"`  // the consequence; "" if Good
	Fix  string `json:"do"`   // what to do; "" if Good
}

// Doctor prints whether the kernel's settings are as lb needs them, and how to fix those that are not. It returns ErrUnsafeKernel if any
// is not.
func Doctor(ctx context.Context, out io.Writer, cfg *config.Config, format Format) error {
	diagnoses, err := examine(ctx, cfg)
	if err != nil {
		return err
	}
	return printDiagnoses(out, diagnoses, format)
}

// examine examines what concerns this machine: the tunnel if it is a node of an ipip cluster, IPVS if it is a balancer. A node counts as a
// balancer only if lb balance has its socket there.
func examine(ctx context.Context, cfg *config.Config) ([]diagnosis, error) {
	local, err := tunnel.LocalAddrs()
	if err != nil {
		return nil, err
	}
	var diagnoses []diagnosis
	want := tunnel.DesiredFor(cfg.Clusters, local)
	isNode := len(want.VIPs) > 0
	if isNode {
		current, err := tunnel.New(cfg.Agent.TunnelDir(), slog.New(slog.DiscardHandler)).State(ctx)
		if err != nil {
			return nil, fmt.Errorf("read the tunnel's state: %w", err)
		}
		diagnoses = append(diagnoses, examineTunnel(current, want)...)
	}
	if _, err := os.Stat(cfg.Balancer.Control); !isNode || err == nil {
		return append(diagnoses, examineIPVS(ipvs.KernelSysctls, ipvs.Features(cfg.KernelFeatures()))...), nil
	}
	return diagnoses, nil
}

// examineIPVS compares the kernel's settings with those that the configuration needs.
func examineIPVS(settings ipvs.SysctlDir, use ipvs.Features) []diagnosis {
	var diagnoses []diagnosis
	for _, s := range ipvs.RecommendedSysctls(use) {
		name := "net.ipv4.vs." + s.Name
		value, err := settings.Get(s.Name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return []diagnosis{{What: "the kernel module ip_vs is not loaded",
				Why: "the kernel balances nothing, and its IPVS settings do not exist yet",
				Fix: "`modprobe ip_vs`, as lb-balance.service does"}}
		case err != nil:
			diagnoses = append(diagnoses, diagnosis{What: name + " cannot be read", Why: err.Error(), Fix: "run this command as root"})
		case value == s.Value:
			diagnoses = append(diagnoses, diagnosis{Good: true, What: name + " is " + value})
		default:
			diagnoses = append(diagnoses, diagnosis{What: fmt.Sprintf("%s is %s, not %s", name, value, s.Value), Why: s.Why,
				Fix: fmt.Sprintf("`sysctl -w %s=%s`, or balancer.set_sysctls = true", name, s.Value)})
		}
	}
	return diagnoses
}

// examineTunnel lists what the tunnel's set-up lacks.
func examineTunnel(current tunnel.State, want tunnel.Desired) []diagnosis {
	const why = "packets that balancers tunnel to this machine are lost, or replies do not reach clients"
	steps, err := tunnel.Plan(current, want)
	var diagnoses []diagnosis
	for _, step := range steps {
		diagnoses = append(diagnoses, diagnosis{What: "the tunnel is not fully set up; missing: " + step.String(), Why: why,
			Fix: "`lb agent tunnel`, or agent.tunnel.enabled = true"})
	}
	if err != nil {
		diagnoses = append(diagnoses, diagnosis{What: "the tunnel cannot be set up", Why: err.Error(),
			Fix: "fix that, then run `lb agent tunnel`"})
	}
	if len(diagnoses) == 0 {
		diagnoses = append(diagnoses, diagnosis{Good: true, What: fmt.Sprintf("the tunnel accepts packets for %v", want.VIPs)})
	}
	return diagnoses
}

func printDiagnoses(out io.Writer, diagnoses []diagnosis, format Format) error {
	var err, unsafe error
	for _, d := range diagnoses {
		if !d.Good {
			unsafe = ErrUnsafeKernel
		}
	}
	if format.JSON {
		return errors.Join(printJSON(out, diagnoses), unsafe)
	}
	for _, d := range diagnoses {
		if d.Good {
			_, err = fmt.Fprintf(out, "good: %s\n", d.What)
			continue
		}
		_, err = fmt.Fprintf(out, "bad:  %s: %s\n  → %s\n", d.What, d.Why, d.Fix)
	}
	return errors.Join(err, unsafe)
}
