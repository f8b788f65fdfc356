package cluster

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/braintree/lb/netx/lab"
	"github.com/braintree/lb/netx/lab/talk"
	"github.com/braintree/lb/ocf/crm"
)

// Run runs a program on the balancer as its operator would, with input, and returns its standard output.
func (b *Balancer) Run(ctx context.Context, input string, name string, args ...string) (string, error) {
	m := b.running()
	if m == nil {
		return "", fmt.Errorf("%s has no power", b.Name)
	}
	var stdout, stderr bytes.Buffer
	p, err := m.host.Start(lab.Command{
		Path: name, Args: args, Stdin: strings.NewReader(input), Stdout: &stdout, Stderr: &stderr,
		Env: append(os.Environ(), "HOME=/run", "LB_CONFIG="+talk.ConfigPath),
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

// Prepare tells Pacemaker what a site tells it beside the clusters of lb.
func (b *Balancer) Prepare(ctx context.Context) error {
	return b.load(ctx, basics)
}

// AddBare has Pacemaker run the address to compare with, and be patient with it and with webapp's.
func (b *Balancer) AddBare(ctx context.Context) error { return b.load(ctx, bare) }

func (b *Balancer) load(ctx context.Context, text string) error {
	_, err := b.Run(ctx, text, "cibadmin", "--modify", "--allow-create", "--xml-pipe")
	return err
}

// Configure has Pacemaker run the clusters of lb.toml, in the way that docs/pacemaker.md shows.
func (b *Balancer) Configure(ctx context.Context) error {
	_, err := b.Run(ctx, "", "sh", "-c", `"$0" ctl pacemaker | crm configure load update -`, b.cluster.options.Binary)
	return err
}

// Property sets one of Pacemaker's, or a node's where that is not empty.
func (b *Balancer) Property(ctx context.Context, name, value string) error {
	_, err := b.Run(ctx, "", "crm_attribute", "--name", name, "--update", value)
	return err
}

// Standby tells Pacemaker whether a balancer may run anything.
func (b *Balancer) Standby(ctx context.Context, node string, standby bool) error {
	value := "off"
	if standby {
		value = "on"
	}
	_, err := b.Run(ctx, "", "crm_standby", "--node", node, "--update", value)
	return err
}

// Status asks Pacemaker, as seen from the balancer.
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

// Online are the balancers that take part, sorted.
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

// On tells where a resource runs, without failure; nowhere while something is under way.
func On(s crm.Status, id string) []string {
	r, _ := s.Resource(id)
	if r.Role != "Started" || r.Pending != "" {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(r.On), func(machine string) bool { return slices.Contains(r.FailedOn, machine) })
}
