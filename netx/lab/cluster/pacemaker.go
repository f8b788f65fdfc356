package cluster

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/braintree/lb/netx/lab"
	"github.com/braintree/lb/netx/lab/testbed"
	"github.com/braintree/lb/ocf/crm"
)

// Run runs a program on the balancer with the given standard input, as its operator would, and returns its standard output.
func (b *Balancer) Run(ctx context.Context, input string, name string, args ...string) (string, error) {
	m := b.running()
	if m == nil {
		return "", fmt.Errorf("%s has no power", b.Name)
	}
	var stdout, stderr bytes.Buffer
	p, err := m.host.Start(lab.Command{
		Path: name, Args: args, Stdin: strings.NewReader(input), Stdout: &stdout, Stderr: &stderr,
		Env: append(os.Environ(), "HOME=/run", "LB_CONFIG="+testbed.ConfigPath),
	})
	if err != nil {
		return "", err
	}
	select {
	case <-p.Done():
		err = p.Wait()
	case <-ctx.Done():
		_ = p.Kill()
		err = ctx.Err()
	}
	if err != nil {
		return stdout.String(), fmt.Errorf("%s: %s %s: %w: %s", b.Name, name, strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}

// ConfigureFencing configures what a site needs in Pacemaker besides lb's clusters.
func (b *Balancer) ConfigureFencing(ctx context.Context) error {
	return b.loadCIB(ctx, fencingConfig)
}

// AddBaseline configures the baseline address, and longer timeouts for it and for webapp's address.
func (b *Balancer) AddBaseline(ctx context.Context) error { return b.loadCIB(ctx, baselineConfig) }

func (b *Balancer) loadCIB(ctx context.Context, text string) error {
	_, err := b.Run(ctx, text, "cibadmin", "--modify", "--allow-create", "--xml-pipe")
	return err
}

// ConfigureClusters configures the clusters of lb.toml in Pacemaker, as docs/pacemaker.md shows.
func (b *Balancer) ConfigureClusters(ctx context.Context) error {
	_, err := b.Run(ctx, "", "sh", "-c", `"$0" ctl pacemaker | crm configure load update -`, b.cluster.options.Binary)
	return err
}

// SetProperty sets a cluster property of Pacemaker.
func (b *Balancer) SetProperty(ctx context.Context, name, value string) error {
	_, err := b.Run(ctx, "", "crm_attribute", "--name", name, "--update", value)
	return err
}

// SetStandby puts a balancer in standby or takes it out.
func (b *Balancer) SetStandby(ctx context.Context, node string, standby bool) error {
	value := "off"
	if standby {
		value = "on"
	}
	_, err := b.Run(ctx, "", "crm_standby", "--node", node, "--update", value)
	return err
}

// Status returns Pacemaker's status as seen from the balancer.
func (b *Balancer) Status(ctx context.Context) (crm.Status, error) {
	text, err := b.Run(ctx, "", "crm_mon", crm.StatusArguments()...)
	if err != nil {
		return crm.Status{}, err
	}
	s, err := crm.ParseStatus([]byte(text))
	if err != nil {
		return crm.Status{}, fmt.Errorf("%s: %w", b.Name, err)
	}
	return s, nil
}

// Online returns the balancers that are cluster members, sorted.
func Online(s crm.Status) []string {
	var names []string
	for _, m := range s.Machines {
		if m.Online && !m.Pending && !m.Unclean {
			names = append(names, m.Name)
		}
	}
	slices.Sort(names)
	return names
}

// RunningOn returns the machines where a resource runs without failure, and nil while an action is pending.
func RunningOn(s crm.Status, id string) []string {
	r, _ := s.Resource(id)
	if r.Role != "Started" || r.Pending != "" {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(r.On), func(machine string) bool { return slices.Contains(r.Broken, machine) })
}
