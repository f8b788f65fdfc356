package action

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/ctl/doctor"
	"github.com/braintree/lb/netx/machine"
)

// CheckConfig loads the configuration at path and prints a summary. The error lists everything that is wrong; warnings go to Err, also
// about what the kernel of this machine lacks if it is a balancer. Where lb balance has its socket, the interfaces that the
// configuration names must exist, too.
func CheckConfig(ctx context.Context, s Streams, load config.Loader, path string) error {
	cfg, err := load(path)
	if err != nil {
		return err
	}
	if _, err := os.Stat(cfg.Balancer.Control); err == nil {
		here, err := machine.Read()
		if err != nil {
			return err
		}
		if missing := missingInterfaces(cfg, here); len(missing) > 0 {
			return missing
		}
	}
	for _, w := range cfg.Warnings() {
		fmt.Fprintf(s.Err, "warning: %s\n", w)
	}
	if m, err := doctor.ThisMachine(cfg, ""); err == nil {
		for _, w := range doctor.Unsupported(ctx, m) {
			fmt.Fprintf(s.Err, "warning: %s\n", w)
		}
	}
	_, err = fmt.Fprintf(s.Out, "%s is valid: %s\n", path, summary(cfg))
	return err
}

// summary counts the services and clusters of a configuration, and what they contain.
func summary(cfg *config.Config) string {
	checks, nodes, vips := 0, 0, 0
	for _, s := range cfg.Services {
		checks += len(s.Depends) + len(s.Metrics)
	}
	for _, c := range cfg.Clusters {
		nodes += len(c.Nodes)
		vips += len(c.VIPs)
	}
	services, clusters := count(len(cfg.Services), "service"), count(len(cfg.Clusters), "cluster")
	if len(cfg.Services) > 0 {
		services += " with " + count(checks, "check")
	}
	if len(cfg.Clusters) > 0 {
		clusters += " with " + count(vips, "virtual IP") + " and " + count(nodes, "node")
	}
	return services + ", " + clusters
}

// missingInterfaces lists the interfaces of a configuration that a balancer does not have.
func missingInterfaces(cfg *config.Config, here *machine.State) config.Diagnostics {
	var found config.Diagnostics
	need := func(key, name, fix string) {
		if missing := here.Missing(name); missing != "" {
			found = append(found, config.Diagnostic{File: cfg.Path, Key: key, Value: strconv.Quote(name), Problem: missing, Fix: fix})
		}
	}
	need("balancer.sync.interface", cfg.Balancer.Sync.Interface, "name the interface to the other balancers: `ip link` lists them")
	for _, c := range cfg.Clusters {
		for i, v := range c.VIPs {
			need(fmt.Sprintf("clusters.%s.vips[%d].interface", c.Name, i), v.Interface,
				"name the interface where its packets arrive, or leave it out: `ip link` lists them")
			if c.Relay.Enabled {
				for _, name := range c.Relay.InterfacesFor(v.Address) {
					need("clusters."+c.Name+".relay_interfaces", name,
						"`modprobe ipip` or `modprobe ip6_tunnel`, or name another interface")
				}
			}
		}
	}
	return found
}
