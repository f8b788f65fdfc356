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

// agent returns a client of the agent that the options or the configuration name.
func (con Console) agent(c *cli.Context) (*client.Client, error) {
	return con.connect(c, client.Agent(), c.String("agent"), client.DefaultAgentControl,
		func(f salvage.Found) string { return f.AgentControl })
}

// balancer returns a client of the balancer that the options or the configuration name.
func (con Console) balancer(c *cli.Context) (*client.Client, error) {
	return con.connect(c, client.Balancer(), c.String("balancer"), client.DefaultBalancerControl,
		func(f salvage.Found) string { return f.BalancerControl })
}

// connect picks the address: the option's, otherwise the configuration's, otherwise the default.
func (con Console) connect(
	c *cli.Context, daemon client.Daemon, option, fallback string, fromConfig func(salvage.Found) string,
) (*client.Client, error) {
	if option != "" {
		return client.NewWithCredentials(daemon, option, credentials(c))
	}
	path, given := configPath(c)
	found, err := salvage.Read(path)
	if err != nil && given {
		return nil, unreadable(path, err)
	}
	if err != nil {
		fmt.Fprintf(con.Err, "lb: note: cannot read the configuration (%v): trying %s at %s\n", err, daemon.Name, fallback)
	}
	if address := fromConfig(found); address != "" {
		return client.NewWithCredentials(daemon, address, credentials(c))
	}
	return client.NewWithCredentials(daemon, fallback, credentials(c))
}

// configPath returns the program's own --config, even for a command that has an option of that name, and whether it was given.
func configPath(c *cli.Context) (path string, given bool) {
	for _, at := range slices.Backward(c.Lineage()) {
		if path := at.String("config"); path != "" {
			return path, at.IsSet("config")
		}
	}
	return "", false
}

func credentials(c *cli.Context) client.Credentials {
	return client.Credentials{
		TokenFile: c.String("token-file"), CAFile: c.String("ca-file"), CertFile: c.String("cert-file"), KeyFile: c.String("key-file"),
	}
}

// unreadable is the error of a configuration that was given by -c and cannot be read.
func unreadable(path string, err error) error {
	var parse toml.ParseError
	if errors.As(err, &parse) {
		return config.Diagnostics{{
			File:    path,
			Line:    parse.Position.Line,
			Problem: "not TOML",
			Fix:     "lb does not read litmus_paper's Ruby or big_brother's YAML; `lb ctl example-config` prints a file to start from",
		}}
	}
	return config.Diagnostics{{Problem: "cannot read the configuration: " + err.Error(), Fix: "give its path with -c"}}
}
