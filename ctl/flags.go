package ctl

import (
	"github.com/urfave/cli/v2"

	"github.com/braintree/lb/ctl/importer"
)

// The options that several commands share. Each call makes new ones: urfave/cli keeps state in them.

func agentFlags(own ...cli.Flag) []cli.Flag {
	address := &cli.StringFlag{Name: "agent", Usage: "`ADDR` of the agent: host:port or socket path (default: from the config)"}
	return append(append([]cli.Flag{address}, own...), credentialFlags()...)
}

func balancerFlags(own ...cli.Flag) []cli.Flag {
	address := &cli.StringFlag{Name: "balancer", Usage: "`ADDR` of the balancer: host:port or socket path (default: from the config)"}
	return append(append([]cli.Flag{address}, own...), credentialFlags()...)
}

// credentialFlags authorise changes at host:port.
func credentialFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "token-file", EnvVars: []string{"LB_TOKEN_FILE"},
			Usage: "`FILE` with the bearer token of the daemon at host:port"},
		&cli.StringFlag{Name: "ca-file", EnvVars: []string{"LB_CA_FILE"},
			Usage: "`FILE` with the CA of the daemon's certificate; turns TLS on"},
		&cli.StringFlag{Name: "cert-file", EnvVars: []string{"LB_CERT_FILE"}, Usage: "`FILE` with your client certificate; turns TLS on"},
		&cli.StringFlag{Name: "key-file", EnvVars: []string{"LB_KEY_FILE"}, Usage: "`FILE` with the private key of your certificate"},
	}
}

func jsonFlag() cli.Flag {
	return &cli.BoolFlag{Name: "json", Usage: "print JSON"}
}

func reasonFlag(usage string) cli.Flag {
	return &cli.StringFlag{Name: "reason", Aliases: []string{"r"}, Usage: usage}
}

func forceFlags() []cli.Flag {
	return agentFlags(
		reasonFlag("`WHY`, for the next operator; prompted for if missing"),
		&cli.StringFlag{Name: "for", Usage: "`TIME` after which the force expires: 90m, 2h, 3d (default: it stays until deleted)"},
		&cli.BoolFlag{Name: "delete", Aliases: []string{"d"}, Usage: "delete the force"},
	)
}

func hostFlag() cli.Flag {
	return &cli.StringFlag{Name: "host", Usage: "`ADDRESS` of a node: every cluster that has it"}
}

func drainFlags() []cli.Flag {
	return balancerFlags(
		hostFlag(),
		reasonFlag("`WHY`, for the next operator; prompted for if missing"),
		&cli.StringFlag{Name: "for", Usage: "`TIME` after which the drain expires: 90m, 2h, 3d (default: it stays until lb ctl undrain)"},
		&cli.DurationFlag{Name: "wait", Usage: "wait up to `TIME`, such as 5m, until the node has no active connections"},
		&cli.BoolFlag{Name: "force", Usage: "drain even if fewer healthy nodes than the cluster's min_healthy remain"},
	)
}

func eventFlags() []cli.Flag {
	return balancerFlags(
		&cli.BoolFlag{Name: "follow", Aliases: []string{"f"},
			Usage: "keep printing events as they happen, across restarts of the balancer"},
		&cli.Uint64Flag{Name: "since", Usage: "only events after `NUMBER` (default: the newest thousand; with --follow: only new ones)"},
		&cli.StringFlag{Name: "cluster", Usage: "only events of the cluster with this `NAME`"},
		jsonFlag(),
	)
}

// importFlags say where the imported configuration goes.
func importFlags(own ...cli.Flag) []cli.Flag {
	return append(own,
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `FILE`, which must not exist (default: standard output)"},
		&cli.BoolFlag{Name: "force", Usage: "overwrite FILE"},
	)
}

func addressFlags(vips *vipFlag) []cli.Flag {
	return importFlags(
		&cli.GenericFlag{Name: "vip", Value: vips, Usage: "`NAME=ADDRESS:PORT`[,PORT...][/PROTOCOL][@INTERFACE] of a cluster; repeatable"},
		&cli.StringFlag{Name: "iptables", Usage: "`FILE` with the rules that set the marks: iptables-save output or iptables commands"},
	)
}

// vipFlag collects the values of --vip.
type vipFlag struct{ vips []importer.VIP }

// Set adds one value.
func (f *vipFlag) Set(s string) error {
	v, err := importer.ParseVIP(s)
	if err == nil {
		f.vips = append(f.vips, v)
	}
	return err
}

// String is the default that help shows: none.
func (f *vipFlag) String() string { return "" }
