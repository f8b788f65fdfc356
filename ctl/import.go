package ctl

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/ctl/cmdline"
	"github.com/braintree/lb/ctl/importer"
)

// importConfig makes an lb.toml of the originals' configuration.
func (con Console) importConfig() *cli.Command {
	return &cli.Command{
		Name:  "import",
		Usage: "make an lb.toml of litmus_paper's or big_brother's configuration",
		Description: `Examples:
  lb ctl import litmus /etc/litmus.conf
  lb ctl import bigbrother /etc/big_brother.conf --vip webapp=203.0.113.7:443`,
		HideHelpCommand: true,
		Subcommands:     []*cli.Command{con.importLitmus(), con.importBigBrother()},
	}
}

// importFlags say where the result goes.
func importFlags(further ...cli.Flag) []cli.Flag {
	return append(further,
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write `FILE`, which must not be there yet (default: standard output)"},
		&cli.BoolFlag{Name: "force", Usage: "write FILE also when it is there"},
	)
}

func (con Console) importLitmus() *cli.Command {
	return &cli.Command{
		Name:      "litmus",
		Usage:     "import YAML (.yaml, .yml) or Ruby of litmus_paper, with the files that it includes",
		ArgsUsage: "FILE...",
		Flags:     importFlags(),
		Description: `Of Ruby, what declares services and settings is carried over; nothing is run. What is left out, or done otherwise, is said
on standard error with file and line, and stands as a comment in the result. The result is checked as by check-config.

Examples:
  lb ctl import litmus /etc/litmus.conf
  lb ctl import litmus /etc/litmus.conf -o /etc/lb/lb.toml
  lb ctl import litmus /etc/litmus.d/*.yaml >lb.toml`,
		Action: func(c *cli.Context) error {
			if err := cmdline.Arguments(c, 1, c.NArg(), "which file? lb ctl import litmus FILE..."); err != nil {
				return err
			}
			r, err := importer.Litmus(c.Args().Slice(), con.Checks)
			if err != nil {
				return err
			}
			return con.imported(c, r)
		},
	}
}

func (con Console) importBigBrother() *cli.Command {
	vips := &vipFlag{}
	return &cli.Command{
		Name:      "bigbrother",
		Usage:     "import YAML of big_brother, with the virtual IPs that the firewall or you name",
		ArgsUsage: "FILE...",
		Flags: importFlags(
			&cli.GenericFlag{Name: "vip", Value: vips, Usage: "`NAME=ADDRESS:PORT`[,PORT...][/PROTOCOL][@INTERFACE] of a cluster; may be given several times"},
			&cli.StringFlag{Name: "iptables", Usage: "`FILE` of iptables-save, or of iptables commands, with the rules that set the marks"},
		),
		Description: `big_brother's configuration does not say which virtual IPs a mark stands for; a cluster for which neither --vip nor --iptables says
it has an example as a comment, and the exit status is 78. What is left out, or done otherwise, is said on standard error with
file and line, and stands as a comment in the result. The result is checked as by check-config.

Examples:
  lb ctl import bigbrother /etc/big_brother.conf --vip webapp=203.0.113.7:443
  lb ctl import bigbrother big_brother.yml --vip webapp=203.0.113.7:80,443@eth1 --vip dns=203.0.113.8:53/udp
  iptables-save >rules && lb ctl import bigbrother big_brother.yml --iptables rules -o lb.toml`,
		Action: func(c *cli.Context) error {
			if err := cmdline.Arguments(c, 1, c.NArg(), "which file? lb ctl import bigbrother FILE..."); err != nil {
				return err
			}
			addresses := importer.Addresses{VIPs: vips.vips, IPTables: c.String("iptables")}
			r, err := importer.BigBrother(c.Args().Slice(), addresses, con.Checks)
			if err != nil {
				return err
			}
			return con.imported(c, r)
		},
	}
}

// vipFlag collects what --vip is given.
type vipFlag struct{ vips []importer.VIP }

// Set takes one.
func (f *vipFlag) Set(s string) error {
	v, err := importer.ParseVIP(s)
	if err == nil {
		f.vips = append(f.vips, v)
	}
	return err
}

// String is the default, as help shows it: none.
func (f *vipFlag) String() string { return "" }

// imported writes the result of an import, and what is to be known about it.
func (con Console) imported(c *cli.Context, r importer.Result) error {
	for _, n := range r.Notes {
		fmt.Fprintf(con.Err, "%s\n", n)
	}
	if err := writeImported(con.Out, r.Text, c.String("output"), c.Bool("force")); err != nil {
		return err
	}
	if len(r.Missing) > 0 {
		fmt.Fprintln(con.Err, "the result is not complete: lb refuses it until what is missing is added")
		return r.Missing
	}
	if len(r.Config.Services)+len(r.Config.Clusters) == 0 {
		return errors.New("the result has no service and no cluster: nothing of that kind came over; what was left out, and why, is said above")
	}
	_, err := fmt.Fprintf(con.Err, "the result is good: %s\n", holds(r.Config))
	return err
}

// writeImported writes a text to a file, or to out when path is "" or "-".
func writeImported(out io.Writer, text, path string, force bool) error {
	if path == "" || path == "-" {
		_, err := io.WriteString(out, text)
		return err
	}
	mode := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if force {
		mode = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	// Passwords in URLs come along: not for everyone.
	f, err := os.OpenFile(path, mode, 0o640)
	if errors.Is(err, fs.ErrExist) {
		return &client.RefusedError{Text: path + " is there already: name another file, or write over it with --force"}
	}
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	_, err = io.WriteString(f, text)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w: it is not whole, do not use it", path, err)
	}
	return nil
}
