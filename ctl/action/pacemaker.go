package action

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/ctl/usage"
	"github.com/braintree/lb/ocf/pacemaker"
)

// Pacemaker prints Pacemaker's configuration for the named clusters, or for all if names is empty. form is crm, pcs or xml.
func Pacemaker(s Streams, cfg *config.Config, form string, names []string) error {
	for _, name := range names {
		if _, ok := cfg.Cluster(name); !ok {
			return noClusterIn(cfg, name)
		}
	}
	if len(cfg.Clusters) == 0 {
		return noClusterIn(cfg, "NAME")
	}
	paths, err := agentPaths(cfg)
	if err != nil {
		return err
	}
	groups, err := pacemaker.Groups(cfg.Clusters, names, paths)
	if err != nil {
		return fmt.Errorf("make Pacemaker's groups from %s: %w", cfg.Path, err)
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
		return usage.Errorf("--as %s: use crm, pcs or xml", form)
	}
	for _, c := range cfg.Clusters {
		if c.Autostart && pacemaker.Has(groups, c.Name) {
			fmt.Fprintf(s.Err, "warning: clusters.%s has autostart = true: lb balance would start it even where Pacemaker stopped it; "+
				"remove autostart\n", c.Name)
		}
	}
	_, err = s.Out.Write(text)
	return err
}

// agentPaths returns the paths that the resource agent needs as parameters because they differ from lb's defaults.
func agentPaths(cfg *config.Config) (pacemaker.Paths, error) {
	path, err := filepath.Abs(cfg.Path)
	if err != nil {
		return pacemaker.Paths{}, fmt.Errorf("find the folder of %s: %w", cfg.Path, err)
	}
	paths := pacemaker.Paths{Config: path, Control: cfg.Balancer.Control}
	if path == client.DefaultConfig {
		paths.Config = ""
	}
	if paths.Control == client.DefaultBalancerControl {
		paths.Control = ""
	}
	return paths, nil
}

func noClusterIn(cfg *config.Config, name string) error {
	var names []string
	for _, c := range cfg.Clusters {
		names = append(names, c.Name)
	}
	if len(names) == 0 {
		return client.NotFound("%s has no clusters: add [clusters.%s]", cfg.Path, name)
	}
	return client.NotFound("%s has no cluster %q: its clusters are %s", cfg.Path, name, strings.Join(names, ", "))
}
