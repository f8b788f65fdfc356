package ctl

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/ctl/usage"
	"github.com/braintree/lb/ocf/pacemaker"
)

// pacemaker writes the cluster manager's configuration.
func (con Console) pacemaker() *cli.Command {
	return &cli.Command{
		Name:      "pacemaker",
		Usage:     "write Pacemaker's configuration: for each cluster a clone of it and a group of its virtual IPs",
		ArgsUsage: "[CLUSTER…]",
		Flags:     []cli.Flag{&cli.StringFlag{Name: "as", Value: "crm", Usage: "`FORM`: crm, pcs or xml"}},
		Description: `It prints, and changes nothing. What is loaded twice changes nothing the second time. Clusters that share a virtual IP have one group.
Run it on a load balancer: a path that is given with -c becomes the resources' parameter config.

Examples:
  lb ctl pacemaker | crm configure load update -
  lb ctl pacemaker webapp | crm configure load update -
  lb ctl pacemaker --as pcs | sh
  lb ctl pacemaker --as xml | cibadmin --modify --allow-create --xml-pipe
  lb ctl pacemaker status`,
		HideHelpCommand: true,
		Subcommands:     []*cli.Command{con.pacemakerStatus()},
		Action: func(c *cli.Context) error {
			cfg, err := con.Load(c.String("config"))
			if err != nil {
				return err
			}
			return con.printPacemaker(cfg, c.String("as"), c.Args().Slice())
		},
	}
}

// printPacemaker prints the groups of the clusters with these names, all for none.
func (con Console) printPacemaker(cfg *config.Config, form string, names []string) error {
	for _, name := range names {
		if _, ok := cfg.Cluster(name); !ok {
			return client.NotFound("%s", noCluster(cfg, name))
		}
	}
	if len(cfg.Clusters) == 0 {
		return client.NotFound("%s", noCluster(cfg, "NAME"))
	}
	at, err := place(cfg)
	if err != nil {
		return err
	}
	groups, err := pacemaker.Groups(cfg.Clusters, names, at)
	if err != nil {
		return fmt.Errorf("make groups for Pacemaker from %s: %w", cfg.Path, err)
	}
	var text []byte
	switch form {
	case "crm":
		text = pacemaker.CRM(groups)
	case "pcs":
		text = pacemaker.PCS(groups)
	case "xml":
		if text, err = pacemaker.XML(groups); err != nil {
			return err
		}
	default:
		return usage.Errorf("--as %s: write crm, pcs or xml", form)
	}
	con.warnAutostart(cfg.Clusters, groups)
	_, err = con.Out.Write(text)
	return err
}

// place says where the balancers have what is not at its default.
func place(cfg *config.Config) (pacemaker.Place, error) {
	path, err := filepath.Abs(cfg.Path)
	if err != nil {
		return pacemaker.Place{}, fmt.Errorf("find the folder of %s: %w", cfg.Path, err)
	}
	at := pacemaker.Place{Config: path, Control: cfg.Balancer.Control}
	if path == client.DefaultConfig {
		at.Config = ""
	}
	if at.Control == client.DefaultBalancerControl {
		at.Control = ""
	}
	return at, nil
}

// warnAutostart says which clusters of the groups lb would start beside Pacemaker.
func (con Console) warnAutostart(clusters []config.Cluster, groups []pacemaker.Group) {
	for _, c := range clusters {
		if c.Autostart && pacemaker.Has(groups, c.Name) {
			fmt.Fprintf(con.Err, "warning: clusters.%s has autostart = true, so lb balance would start it also where Pacemaker has stopped it: remove that\n", c.Name)
		}
	}
}

// noCluster says that a cluster is not in the configuration, and which are.
func noCluster(cfg *config.Config, name string) string {
	var names []string
	for _, c := range cfg.Clusters {
		names = append(names, c.Name)
	}
	if len(names) == 0 {
		return fmt.Sprintf("%s has no clusters: add [clusters.%s] to it", cfg.Path, name)
	}
	return fmt.Sprintf("%s has no cluster %q: it has %s", cfg.Path, name, strings.Join(names, ", "))
}
