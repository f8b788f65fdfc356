package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/ctl/cmdline"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/tunnel"
)

// ErrUnsafe says that the kernel is not set up as lb's promises want it. What was printed says where; there is nothing to add.
var ErrUnsafe = errors.New("the kernel is not set up as it should be")

// Examined is one thing that was looked at.
type Examined struct {
	Good bool   `json:"good"`
	What string `json:"what"` // what is so
	Why  string `json:"why"`  // what comes of it; "" where it is good
	Do   string `json:"do"`   // how to mend it; "" where it is good
}

// doctor looks at what lb's promises rest on.
func (con Console) doctor() *cli.Command {
	return &cli.Command{
		Name:  "doctor",
		Usage: "check what lb's promises rest on in this machine's kernel: settings of IPVS on a load balancer, the tunnel on an app node",
		Flags: []cli.Flag{jsonFlag()},
		Description: `It changes nothing. docs/rules.md says what the settings do; lb sets them itself with balancer.set_sysctls and agent.tunnel.

Exit status: 0 all is good, 1 something is not, 69 the kernel has no nftables, 77 no privilege to read the tunnel's set-up, 78 the configuration has mistakes.

Examples:
  lb ctl doctor
  lb ctl doctor --json`,
		Action: func(c *cli.Context) error {
			if err := cmdline.Arguments(c, 0, 0, ""); err != nil {
				return err
			}
			cfg, err := con.Load(c.String("config"))
			if err != nil {
				return err
			}
			found, err := examine(c.Context, cfg)
			if err != nil {
				return err
			}
			return printExamined(con.Out, found, c.Bool("json"))
		},
	}
}

// examine looks at what concerns this machine: the tunnel where it is a node of a tunnelled cluster, and IPVS where it is a balancer, which a node is only where
// lb balance has its socket.
func examine(ctx context.Context, cfg *config.Config) ([]Examined, error) {
	local, err := tunnel.LocalAddrs()
	if err != nil {
		return nil, err
	}
	var found []Examined
	want := tunnel.DesiredFor(cfg.Clusters, local)
	isNode := len(want.VIPs) > 0
	if isNode {
		current, err := tunnel.New(cfg.Agent.TunnelDir(), slog.New(slog.DiscardHandler)).State(ctx)
		if err != nil {
			return nil, fmt.Errorf("look at the tunnel: %w", err)
		}
		found = append(found, examineTunnel(current, want)...)
	}
	if _, err := os.Stat(cfg.Balancer.Control); !isNode || err == nil {
		return append(found, examineIPVS(ipvs.KernelSysctls, ipvs.Features(cfg.KernelUse()))...), nil
	}
	return found, nil
}

// examineIPVS compares the kernel's settings with those that the configuration needs.
func examineIPVS(settings ipvs.SysctlDir, use ipvs.Features) []Examined {
	var found []Examined
	for _, s := range ipvs.RecommendedSysctls(use) {
		name := "net.ipv4.vs." + s.Name
		value, err := settings.Get(s.Name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return []Examined{{What: "IPVS is not loaded in this kernel", Why: "nothing can be balanced, and its settings are not there yet", Do: "`modprobe ip_vs`, as lb-balance.service does"}}
		case err != nil:
			found = append(found, Examined{What: name + " cannot be read", Why: err.Error(), Do: "run it as root"})
		case value == s.Value:
			found = append(found, Examined{Good: true, What: name + " is " + value})
		default:
			found = append(found, Examined{What: fmt.Sprintf("%s is %s, not %s", name, value, s.Value), Why: s.Why,
				Do: fmt.Sprintf("`sysctl -w %s=%s`, or balancer.set_sysctls = true", name, s.Value)})
		}
	}
	return found
}

// examineTunnel tells what the tunnel's set-up lacks.
func examineTunnel(current tunnel.State, want tunnel.Desired) []Examined {
	const why = "packets that balancers tunnel here are lost, or their answers do not reach clients"
	steps, err := tunnel.Plan(current, want)
	var found []Examined
	for _, step := range steps {
		found = append(found, Examined{What: "the tunnel lacks: " + step.String(), Why: why, Do: "`lb agent tunnel`, or agent.tunnel.enabled = true"})
	}
	if err != nil {
		found = append(found, Examined{What: "the tunnel cannot be as it should", Why: err.Error(), Do: "mend that, then `lb agent tunnel`"})
	}
	if len(found) == 0 {
		found = append(found, Examined{Good: true, What: fmt.Sprintf("the tunnel takes packets for %v", want.VIPs)})
	}
	return found
}

// printExamined prints what was found. ErrUnsafe where something is not good.
func printExamined(out io.Writer, found []Examined, asJSON bool) error {
	var err, bad error
	for _, f := range found {
		if !f.Good {
			bad = ErrUnsafe
		}
	}
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return errors.Join(encoder.Encode(found), bad)
	}
	for _, f := range found {
		if f.Good {
			_, err = fmt.Fprintf(out, "good: %s\n", f.What)
			continue
		}
		_, err = fmt.Fprintf(out, "bad:  %s: %s\n  → %s\n", f.What, f.Why, f.Do)
	}
	return errors.Join(err, bad)
}
