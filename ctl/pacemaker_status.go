package ctl

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/ocf/consistency"
)

// ErrDisagree says that Pacemaker, lb balance and the kernel do not agree. What was printed says where; there is nothing to add.
var ErrDisagree = errors.New("not all of Pacemaker, lb balance and the kernel agree")

// pacemakerStatus compares what Pacemaker, the daemon and the kernel say.
func (con Console) pacemakerStatus() *cli.Command {
	return &cli.Command{
		Name:      "status",
		Usage:     "show where each cluster runs, and whether Pacemaker, lb balance and the kernel of this machine agree; where not, what to do",
		ArgsUsage: "[CLUSTER…]",
		Flags:     balancerFlags(jsonFlag()),
		Description: `Run it as root on a load balancer. It asks Pacemaker (crm_mon, cibadmin), lb balance and the kernel, and changes nothing. What somebody
wanted so, as a machine in standby, is a note; what needs a hand is trouble.

Exit status: 0 all agree (there may be notes), 1 there is trouble, 77 no privilege to read the kernel.

Examples:
  lb ctl pacemaker status
  lb ctl pacemaker status webapp
  lb ctl pacemaker status --json
  lb ctl pacemaker status >/dev/null && echo "all agree"`,
		Action: func(c *cli.Context) error {
			views, err := con.views(c)
			if err != nil {
				return err
			}
			report := consistency.Compare(views, c.Args().Slice())
			for _, name := range c.Args().Slice() {
				if !slices.ContainsFunc(report.Clusters, func(c consistency.Cluster) bool { return c.Name == name }) {
					return client.NotFound("neither %s nor lb balance nor Pacemaker has a cluster %q: `lb ctl pacemaker status` shows all", views.Config.Path, name)
				}
			}
			return printReport(con.Out, report, c.Bool("json"))
		},
	}
}

// printReport prints a comparison. ErrDisagree where there is trouble in it.
func printReport(out io.Writer, r consistency.Report, asJSON bool) error {
	var err error
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(r)
	} else {
		err = writeReport(out, r)
	}
	if err == nil && !r.Agree {
		err = ErrDisagree
	}
	return err
}

// writeReport prints the machines, a table of the clusters, and what was found with what to do.
func writeReport(out io.Writer, r consistency.Report) error {
	fmt.Fprintf(out, "this machine: %s\n", r.Machine)
	if len(r.Machines) > 0 {
		var words []string
		for _, m := range r.Machines {
			words = append(words, m.Name+" "+m.State)
		}
		fmt.Fprintf(out, "Pacemaker's:  %s\n", strings.Join(words, ", "))
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CLUSTER\tRUNS ON\tADDRESSES ON\tLB BALANCE HERE\tKERNEL HERE\tADDRESSES HERE")
	for _, c := range r.Clusters {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", c.Name, whereWord(c.Pacemaker), holderWords(c.Addresses), c.Daemon, kernelWord(c), addressWords(c.Addresses))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	troubles := 0
	for _, f := range r.Findings {
		troubles += writeFinding(out, "", f)
	}
	for _, c := range r.Clusters {
		for _, f := range c.Findings {
			troubles += writeFinding(out, c.Name+": ", f)
		}
	}
	var err error
	switch troubles {
	case 0:
		_, err = fmt.Fprintln(out, "all agree")
	case 1:
		_, err = fmt.Fprintln(out, "1 trouble")
	default:
		_, err = fmt.Fprintf(out, "%d troubles\n", troubles)
	}
	return err
}

// writeFinding prints one and returns how much trouble it is.
func writeFinding(out io.Writer, about string, f consistency.Finding) int {
	fmt.Fprintf(out, "%s: %s%s\n", f.Level, about, f.Says)
	if f.Do != "" {
		fmt.Fprintf(out, "  → %s\n", f.Do)
	}
	if f.Level == consistency.Trouble {
		return 1
	}
	return 0
}

func whereWord(w consistency.Where) string {
	if len(w.Machines) > 0 {
		return strings.Join(w.Machines, ", ")
	}
	return w.State
}

// holderWords says where Pacemaker has the addresses: mostly all in one place.
func holderWords(vips []consistency.VIP) string {
	var words []string
	for _, v := range vips {
		if word := whereWord(v.Pacemaker); !slices.Contains(words, word) {
			words = append(words, word)
		}
	}
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, "; ")
}

func kernelWord(c consistency.Cluster) string {
	if !c.Kernel.Service {
		return "nothing"
	}
	return fmt.Sprintf("mark %d, %d of %d nodes with weight", c.Mark, c.Kernel.Weighted, c.Kernel.Nodes)
}

func addressWords(vips []consistency.VIP) string {
	var words []string
	for _, v := range vips {
		if len(v.Interfaces) > 0 {
			words = append(words, v.Address+" on "+strings.Join(v.Interfaces, ", "))
		}
	}
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, "; ")
}
