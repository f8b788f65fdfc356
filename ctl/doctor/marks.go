package doctor

import (
	"context"

	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
)

func lookAtMarks(ctx context.Context, m *Machine) (found []Finding, err error) {
	k, err := mark.NewKernel()
	if err != nil {
		return nil, err
	}
	defer func() { _ = k.Close() }()
	in, err := k.Inspect(ctx, markRules(m))
	if err != nil {
		return nil, err
	}
	return examineMarks(in), nil
}

// markRules are the marking rules of the configured virtual IPs.
func markRules(m *Machine) []mark.Rule {
	var rules []mark.Rule
	for _, c := range m.config.Clusters {
		for _, v := range c.VIPs {
			for _, port := range v.Ports {
				rules = append(rules, mark.Rule{
					Address: v.Address, Interface: v.Interface, Protocol: v.Protocol, Port: port, Mark: ipvs.Mark(c.Mark),
				})
			}
		}
	}
	return rules
}

// examineMarks lists what can keep packets with lb's marks from IPVS, whether there is traffic or not. Rules that drop some packets are
// what a firewall has; that they drop too many shows with traffic.
func examineMarks(in mark.Inspection) []Finding {
	const why = "packets for virtual IPs do not reach IPVS with the mark of their cluster, and clients get no answer"
	var found []Finding
	for _, f := range in.Foreign {
		fix := "let it leave lb's marks and packets alone; " + f.Show + " shows it"
		switch {
		case f.Kind == mark.Harmless:
			found = append(found, good("%s", f.What))
		case f.Always:
			found = append(found, bad(f.What, why, fix))
		case f.Kind != mark.Drops:
			found = append(found, unknown(f.What+", of some packets", "if lb's are among them, clients get no answer", fix))
		}
	}
	if len(found) == 0 {
		found = append(found, good("nothing changes marks between lb's rules and IPVS"))
	}
	return found
}
