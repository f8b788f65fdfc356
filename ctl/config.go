package ctl

import (
	"fmt"
	"io"
	"strings"

	"github.com/braintree/lb/config"
)

// CheckConfig reads the configuration at path and says what it holds. Mistakes are the error, all of them; what is allowed but
// hardly meant goes to notes.
func CheckConfig(out, notes io.Writer, load config.Loader, path string) error {
	cfg, err := load(path)
	if err != nil {
		return err
	}
	for _, w := range cfg.Warnings() {
		fmt.Fprintf(notes, "warning: %s\n", w)
	}
	_, err = fmt.Fprintf(out, "%s is good: %s\n", path, holds(cfg))
	return err
}

// holds counts what there is in a configuration.
func holds(cfg *config.Config) string {
	checks, nodes, vips := 0, 0, 0
	for _, s := range cfg.Services {
		checks += len(s.Depends) + len(s.Metrics)
	}
	for _, cl := range cfg.Clusters {
		nodes += len(cl.Nodes)
		vips += len(cl.VIPs)
	}
	parts := []string{
		count(len(cfg.Services), "service") + " with " + count(checks, "check"),
		count(len(cfg.Clusters), "cluster") + " with " + count(vips, "virtual IP") + " and " + count(nodes, "node"),
	}
	return strings.Join(parts, ", ")
}

// count writes a number with its noun.
func count(n int, noun string) string {
	switch n {
	case 0:
		return "no " + noun + "s"
	case 1:
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
