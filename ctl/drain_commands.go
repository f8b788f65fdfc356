package ctl

import (
	"github.com/urfave/cli/v2"

	"github.com/braintree/lb/ctl/cmdline"
	"github.com/braintree/lb/ctl/usage"
)

func hostFlag() cli.Flag {
	return &cli.StringFlag{Name: "host", Usage: "`ADDRESS` of a node: every cluster that has it"}
}

func reasonFlag(usage string) cli.Flag {
	return &cli.StringFlag{Name: "reason", Aliases: []string{"r"}, Usage: usage}
}

// drain takes a node out of rotation on a load balancer.
func (con Console) drain() *cli.Command {
	return &cli.Command{
		Name:      "drain",
		Usage:     "give a node no new connections, and let those it has end",
		ArgsUsage: "CLUSTER NODE",
		Flags: balancerFlags(
			hostFlag(),
			reasonFlag("`WHY`, for the next person who looks; asked for when it is not given"),
			&cli.StringFlag{Name: "for", Usage: "`TIME` after which the drain ends by itself: 90m, 2h, 3d (default: it stays until lb ctl undrain)"},
			&cli.DurationFlag{Name: "wait", Usage: "wait until the node has no active connection any more, `TIME` at most, such as 5m"},
			&cli.BoolFlag{Name: "force", Usage: "also where fewer healthy nodes are left than the cluster's min_healthy"},
		),
		Description: `The drain holds on this balancer alone, also over a restart: drain on each one that may carry the cluster. Each is
written to audit.log in the balancer's data_dir.

Exit status: 0 it is drained (with --wait: no active connection is left), 1 the wait was in vain and the drain stays,
2 refused.

Examples:
  lb ctl drain webapp 10.0.0.2 -r "apt upgrades"
  lb ctl drain webapp 10.0.0.2 -r "new disks" --for 2h --wait 5m
  lb ctl drain --host 10.0.0.2 -r "moving to another rack" --wait 10m`,
		Action: con.runDrain,
	}
}

func (con Console) runDrain(c *cli.Context) error {
	d, err := ParseDrain("drain", c.Args().Slice(), c.String("host"))
	if err != nil {
		return err
	}
	if c.IsSet("wait") && c.Duration("wait") <= 0 {
		return usage.Errorf("--wait needs a time above 0, such as 5m")
	}
	b, err := con.balancer(c)
	if err != nil {
		return err
	}
	d.Who, d.Reason, d.For, d.Force = Who(con.Getenv), c.String("reason"), c.String("for"), c.Bool("force")
	if CleanReason(d.Reason) == "" {
		if d.Reason, err = AskReason(con.In, con.Out, "drained"); err != nil {
			return err
		}
	}
	drained, err := d.Do(c.Context, con.Out, b)
	if err != nil || !c.IsSet("wait") {
		return err
	}
	return Await(c.Context, con.Err, b, drained, c.Duration("wait"))
}

// undrain ends a drain.
func (con Console) undrain() *cli.Command {
	return &cli.Command{
		Name:      "undrain",
		Usage:     "let a drained node in again; it ramps up",
		ArgsUsage: "CLUSTER NODE",
		Flags:     balancerFlags(hostFlag(), reasonFlag("`WHY`, for the record")),
		Description: `Examples:
  lb ctl undrain webapp 10.0.0.2
  lb ctl undrain --host 10.0.0.2`,
		Action: func(c *cli.Context) error {
			d, err := ParseDrain("undrain", c.Args().Slice(), c.String("host"))
			if err != nil {
				return err
			}
			b, err := con.balancer(c)
			if err != nil {
				return err
			}
			d.Who, d.Reason = Who(con.Getenv), c.String("reason")
			return d.Undo(c.Context, con.Out, b)
		},
	}
}

// drains lists what is drained.
func (con Console) drains() *cli.Command {
	return &cli.Command{
		Name:  "drains",
		Usage: "list the drained nodes of this load balancer: by whom, why and until when",
		Flags: balancerFlags(jsonFlag()),
		Description: `Examples:
  lb ctl drains
  lb ctl drains --json`,
		Action: func(c *cli.Context) error {
			if err := cmdline.Arguments(c, 0, 0, ""); err != nil {
				return err
			}
			b, err := con.balancer(c)
			if err != nil {
				return err
			}
			return Drains(c.Context, con.Out, b, con.look(c))
		},
	}
}
