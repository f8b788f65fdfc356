package action

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/ocf/consistency"
)

// ErrInconsistent reports that Pacemaker, lb balance and the kernel disagree. The printed result already says where.
var ErrInconsistent = errors.New("Pacemaker, lb balance and the kernel disagree")

// PacemakerStatus prints how the views of the named clusters compare, or of all if names is empty. It returns ErrInconsistent if there is a
// problem.
func PacemakerStatus(out io.Writer, views consistency.Views, names []string, format Format) error {
	report := consistency.Compare(views, names)
	for _, name := range names {
		if !slices.ContainsFunc(report.Clusters, func(c consistency.Cluster) bool { return c.Name == name }) {
			return client.NotFound("%s, lb balance and Pacemaker have no cluster %q: `lb ctl pacemaker status` shows all clusters",
				views.Config.Path, name)
		}
	}
	return printReport(out, report, format)
}

func printReport(out io.Writer, r consistency.Report, format Format) error {
	var err error
	if format.JSON {
		err = printJSON(out, r)
	} else {
		err = writeReport(out, r)
	}
	if err == nil && !r.Agree {
		err = ErrInconsistent
	}
	return err
}

// writeReport writes the machines, a table of the clusters, and the findings with their fixes.
func writeReport(out io.Writer, r consistency.Report) error {
	fmt.Fprintf(out, "this machine: %s\n", r.Machine)
	if len(r.Machines) > 0 {
		var words []string
		for _, m := range r.Machines {
			words = append(words, m.Name+" "+m.State)
		}
		fmt.Fprintf(out, "all machines: %s\n", strings.Join(words, ", "))
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CLUSTER\tRUNS ON\tADDRESSES ON\tLB BALANCE HERE\tKERNEL HERE\tADDRESSES HERE")
	for _, c := range r.Clusters {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", c.Name, placementText(c.Pacemaker), addressPlacementText(c.Addresses), c.Daemon,
			kernelText(c), localAddressText(c.Addresses))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	problems := 0
	for _, f := range r.Findings {
		problems += writeFinding(out, "", f)
	}
	for _, c := range r.Clusters {
		for _, f := range c.Findings {
			problems += writeFinding(out, c.Name+": ", f)
		}
	}
	result := "all agree"
	if problems > 0 {
		result = count(problems, "problem")
	}
	_, err := fmt.Fprintln(out, result)
	return err
}

// writeFinding writes a finding and returns 1 if it is a problem, else 0.
func writeFinding(out io.Writer, cluster string, f consistency.Finding) int {
	label, problems := "note", 0
	if f.Level == consistency.Problem {
		label, problems = "problem", 1
	}
	fmt.Fprintf(out, "%s: %s%s\n", label, cluster, f.Text)
	if f.Fix != "" {
		fmt.Fprintf(out, "  → %s\n", f.Fix)
	}
	return problems
}

func placementText(p consistency.Placement) string {
	if len(p.Machines) > 0 {
		return strings.Join(p.Machines, ", ")
	}
	return p.State
}

// addressPlacementText says where Pacemaker runs the addresses: usually all in one place.
func addressPlacementText(vips []consistency.VIP) string {
	var words []string
	for _, v := range vips {
		if word := placementText(v.Pacemaker); !slices.Contains(words, word) {
			words = append(words, word)
		}
	}
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, "; ")
}

func kernelText(c consistency.Cluster) string {
	if !c.Kernel.Service {
		return "no service"
	}
	return fmt.Sprintf("mark %d, %d of %d nodes with weight", c.Mark, c.Kernel.Weighted, c.Kernel.Nodes)
}

func localAddressText(vips []consistency.VIP) string {
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
