package ctl

import (
	"errors"
	"fmt"
	"slices"

	"github.com/BurntSushi/toml"
	"github.com/urfave/cli/v2"

	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/config/salvage"
)

// agent returns a client of the agent that the flags or the configuration name.
func (con Console) agent(c *cli.Context) (*client.Client, error) {
	return con.dial(c, client.Agent(), c.String("agent"), client.DefaultAgentControl,
		func(f salvage.Found) string { return f.AgentControl })
}

// balancer returns a client of the balancer that the flags or the configuration name.
func (con Console) balancer(c *cli.Context) (*client.Client, error) {
	return con.dial(c, client.Balancer(), c.String("balancer"), client.DefaultBalancerControl,
		func(f salvage.Found) string { return f.BalancerControl })
}

// dial picks the address: the flag's, else the configuration's, else the default.
func (con Console) dial(c *cli.Context, daemon client.Daemon, flag, fallback string, pick func(salvage.Found) string) (*client.Client, error) {
	if flag != "" {
		return client.With(proof(c), daemon, flag)
	}
	path, given := configPath(c)
	found, err := salvage.Read(path)
	if err != nil && given {
		return nil, unusable(path, err)
	}
	if err != nil {
		fmt.Fprintf(con.Err, "lb: note: cannot read the configuration (%v): trying %s at %s\n", err, daemon.Name, fallback)
	}
	if address := pick(found); address != "" {
		return client.With(proof(c), daemon, address)
	}
	return client.With(proof(c), daemon, fallback)
}

// configPath is the configuration that all modes share, whatever the command itself means by --config, and tells whether it was given.
func configPath(c *cli.Context) (path string, given bool) {
	for _, at := range slices.Backward(c.Lineage()) {
		if path := at.String("config"); path != "" {
			return path, at.IsSet("config")
		}
	}
	return "", false
}

// proof reads what to show over TCP from the flags.
func proof(c *cli.Context) client.Proof {
	return client.Proof{
		TokenFile: c.String("token-file"), CAFile: c.String("ca-file"), CertFile: c.String("cert-file"), KeyFile: c.String("key-file"),
	}
}

// unusable is the mistake of a configuration file that was asked for and cannot be read.
func unusable(path string, err error) error {
	var parse toml.ParseError
	if errors.As(err, &parse) {
		return config.Mistakes{{
			File:    path,
			Line:    parse.Position.Line,
			Problem: "this is not TOML",
			Fix:     "lb does not read litmus_paper's Ruby or big_brother's YAML; `lb ctl example-config` prints a file to start from",
		}}
	}
	return config.Mistakes{{Problem: "cannot read the configuration: " + err.Error(), Fix: "give its path with -c"}}
}
