package cluster

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/braintree/lb/netx/lab"
	"github.com/braintree/lb/netx/lab/talk"
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

// AddBare has Pacemaker run the address to compare with.
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

// State is what Pacemaker says, as crm_mon prints it.
type State struct {
	Nodes    []Node     `xml:"nodes>node"`
	Failures []Failure  `xml:"failures>failure"`
	Alone    []Resource `xml:"resources>resource"`
	Groups   []Resource `xml:"resources>group>resource"`
	Clones   []Resource `xml:"resources>clone>resource"`
	DC       struct {
		Quorum bool `xml:"with_quorum,attr"`
	} `xml:"summary>current_dc"`
}

// Node is a balancer as Pacemaker sees it.
type Node struct {
	Name    string `xml:"name,attr"`
	Online  bool   `xml:"online,attr"`
	Standby bool   `xml:"standby,attr"`
	Pending bool   `xml:"pending,attr"`
	Unclean bool   `xml:"unclean,attr"`
}

// Failure is an action that failed.
type Failure struct {
	Operation string `xml:"op_key,attr"` // such as cluster-webapp_monitor_5000
	Node      string `xml:"node,attr"`
	Exit      string `xml:"exitstatus,attr"` // error, or another word of the OCF standard's
	Reason    string `xml:"exitreason,attr"`
	Status    string `xml:"status,attr"` // complete, or Timed Out
}

// Resource is one instance of a resource.
type Resource struct {
	ID      string `xml:"id,attr"`
	Role    string `xml:"role,attr"`
	Failed  bool   `xml:"failed,attr"`
	Pending string `xml:"pending,attr"`
	On      []Node `xml:"node"`
}

// State asks Pacemaker, as seen from the balancer.
func (b *Balancer) State(ctx context.Context) (State, error) {
	var s State
	text, err := b.Run(ctx, "", "crm_mon", "--one-shot", "--inactive", "--output-as=xml")
	if err != nil {
		return s, err
	}
	if err := xml.Unmarshal([]byte(text), &s); err != nil {
		return s, fmt.Errorf("%s: read what crm_mon says: %w", b.Name, err)
	}
	return s, nil
}

// Online are the balancers that take part, sorted.
func (s State) Online() []string {
	var names []string
	for _, n := range s.Nodes {
		if n.Online && !n.Pending && !n.Unclean {
			names = append(names, n.Name)
		}
	}
	slices.Sort(names)
	return names
}

// On tells where a resource runs, without failure and with nothing under way, sorted.
func (s State) On(id string) []string {
	var names []string
	for _, r := range slices.Concat(s.Alone, s.Groups, s.Clones) {
		if r.ID != id || r.Role != "Started" || r.Failed || r.Pending != "" {
			continue
		}
		for _, n := range r.On {
			names = append(names, n.Name)
		}
	}
	slices.Sort(names)
	return names
}
