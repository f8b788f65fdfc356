package main_test

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"slices"
	"strconv"
	"strings"
)

const module = "github.com/braintree/lb"

// imports calls f with each package of this module that a file imports, as its folder.
func (s source) imports(f func(at token.Pos, dir string)) {
	for _, spec := range s.file.Imports {
		path, _ := strconv.Unquote(spec.Path.Value)
		if path == module {
			f(spec.Pos(), ".")
		} else if dir, ours := strings.CutPrefix(path, module+"/"); ours {
			f(spec.Pos(), dir)
		}
	}
}

// packageComments expects "Package x" of godoc, or "Command x" of a command. A package that is only tests has its comment in one of
// them.
func packageComments(tree []source, found report) {
	type pkg struct{ dir, name string }
	code := map[string]bool{}
	for _, s := range tree {
		code[s.dir()] = code[s.dir()] || !s.test
	}
	commented := map[pkg]bool{}
	first := map[pkg]token.Pos{}
	for _, s := range tree {
		p := pkg{s.dir(), s.file.Name.Name}
		if s.test && code[p.dir] {
			continue
		}
		if first[p] == token.NoPos {
			first[p] = s.file.Package
		}
		if s.file.Doc == nil {
			continue
		}
		if commented[p] {
			found(s.file.Doc.Pos(), "one more comment of package %s", p.name)
		}
		commented[p] = true
		words := strings.Fields(s.file.Doc.Text())
		if len(words) < 3 || (words[0] != "Package" || words[1] != p.name) && (words[0] != "Command" || p.name != "main") {
			found(s.file.Doc.Pos(), "the comment does not start with Package %s", p.name)
		}
	}
	for p, at := range first {
		if !commented[p] {
			found(at, "package %s has no comment", p.name)
		}
	}
}

// layers lists packages from the bottom up: a package, and those of this module that its code imports, separated by spaces.
type layers []struct{ dir, imports string }

// importTable is the picture of the packages as a table. Each stands below those that it imports, so that no arrow points upward. A
// test may import what it needs.
var importTable = layers{
	{"netx", ""},
	{"netx/sanitize", ""},
	{"netx/logfile", ""},
	{"netx/program", ""},
	{"netx/sse", ""},
	{"netx/systemd", ""},
	{"netx/systemd/systemdtest", ""},
	{"netx/golden", ""},
	{"netx/audit", "netx/logfile netx/sanitize"},
	{"netx/recordstore", "netx/sanitize"},
	{"netx/vip", "netx"},
	{"netx/ipvs", "netx"},
	{"netx/machine", ""},
	{"netx/ipvs/ipvstest", "netx/ipvs"},
	{"netx/mark", "netx netx/ipvs"},
	{"netx/mark/marktest", "netx/ipvs netx/mark"},

	{"balancer/event", "netx/sanitize"},
	{"config", "balancer/event"},
	{"config/salvage", "config"},
	{"netx/listen", "config netx/sanitize"},
	{"netx/tunnel", "config netx netx/recordstore"},

	{"agent/score", ""},
	{"agent/agentcheck", "agent/score"},
	{"agent/api", "netx/audit"},
	{"agent/check", "config netx/program netx/sanitize"},
	{"agent/agenttest", "agent/api agent/check"},
	{"agent/checkrun", "agent/check agent/score config"},
	{"agent/fastpath", ""},
	{"agent/force", "agent/api agent/score netx/audit netx/recordstore netx/sanitize"},
	{"agent/schedule", "agent/check agent/score config"},
	{"agent/service", "agent/api agent/check agent/force agent/schedule agent/score config"},
	{"agent/stream", "agent/api agent/force agent/service netx/sse"},
	{"agent/tunnelwatch", "netx/tunnel"},
	{"agent/server", "agent/api agent/fastpath agent/force agent/score agent/service agent/stream netx/audit netx/listen netx/sanitize " +
		"netx/sse"},
	{"agent", "agent/agentcheck agent/api agent/check agent/fastpath agent/force agent/schedule agent/server agent/service agent/stream " +
		"agent/tunnelwatch config netx/audit netx/listen netx/systemd netx/tunnel"},
	{"agent/bench", ""},

	{"balancer/decide", ""},
	{"balancer/api", "balancer/decide balancer/event config"},
	{"balancer/client", "balancer/api netx/listen netx/sse"},
	{"balancer/override", "balancer/decide netx/sanitize"},
	{"balancer/drain", "netx/recordstore netx/sanitize"},
	{"balancer/page", "config netx/ipvs netx/listen"},
	{"balancer/watch", "balancer/decide config netx/sanitize netx/sse"},
	{"balancer/journal", "balancer/event netx/logfile"},
	{"balancer/hook", "balancer/event balancer/journal config netx/program netx/sanitize"},
	{"balancer/server", "balancer/api balancer/event balancer/journal config netx/listen netx/recordstore " +
		"netx/sanitize netx/sse"},
	{"balancer/plan", "netx/ipvs netx/mark"},
	{"balancer/plan/plantest", "balancer/plan netx/ipvs"},
	{"balancer/cluster", "balancer/api balancer/decide balancer/event balancer/plan config netx/ipvs netx/machine netx/mark"},
	{"balancer/kernel", "balancer/plan config netx/ipvs netx/machine netx/mark"},
	{"balancer/reconcile", "balancer/api balancer/cluster balancer/event balancer/journal balancer/kernel balancer/plan " +
		"netx/ipvs netx/mark"},
	{"balancer", "balancer/api balancer/cluster balancer/decide balancer/drain balancer/event balancer/hook balancer/journal " +
		"balancer/kernel balancer/override balancer/page balancer/reconcile balancer/server balancer/watch config netx/audit netx/ipvs " +
		"netx/listen netx/machine netx/mark netx/systemd"},

	{"ocf/crm", ""},
	{"ocf/pacemaker", "config"},
	{"ocf/consistency", "balancer/api config netx/ipvs netx/mark ocf/crm"},
	{"ocf", "balancer/api balancer/client config config/salvage netx netx/ipvs netx/recordstore"},

	{"ctl/usage", ""},
	{"ctl/cmdline", "ctl/usage"},
	{"ctl/daemon", "config ctl/usage netx/systemd"},
	{"ctl/importer", "config netx/sanitize"},
	{"ctl/doctor", "agent/api balancer/api balancer/client balancer/cluster config netx netx/ipvs netx/machine netx/mark netx/program " +
		"netx/tunnel"},
	{"ctl/action", "agent/api agent/check agent/checkrun balancer/api balancer/client balancer/event config config/salvage ctl/doctor " +
		"ctl/importer ctl/usage netx netx/ipvs netx/machine netx/mark netx/program netx/sanitize netx/sse netx/tunnel " +
		"ocf/consistency ocf/crm ocf/pacemaker"},
	{"ctl", "balancer/client config config/salvage ctl/action ctl/cmdline ctl/importer ctl/usage netx/ipvs"},
	{"ctl/exit", "balancer/client config ctl/action ctl/usage netx netx/mark netx/tunnel"},

	{"netx/lab", "netx"},
	{"netx/lab/labtest", "netx/lab"},
	{"netx/lab/testbed", "netx/lab netx/vip"},
	{"netx/lab/demo", "balancer/api netx/ipvs netx/lab/testbed"},
	{"netx/lab/cluster", "netx/ipvs netx/lab netx/lab/testbed netx/vip ocf/crm"},
	{"netx/lab/e2e", ""},
	{"netx/lab/e2e/noipvs", ""},
	{"netx/lab/failover", ""},

	{".", "agent agent/check balancer balancer/client config ctl ctl/action ctl/cmdline ctl/daemon ctl/exit netx/ipvs " +
		"netx/lab/demo netx/listen netx/machine netx/mark netx/tunnel ocf"},
}

// check compares the imports of all code with the table, and the table with itself.
func (l layers) check(tree []source, found report) {
	allowed := map[string][]string{}
	for _, row := range l {
		imports := strings.Fields(row.imports)
		for _, dir := range imports {
			if _, above := allowed[dir]; !above {
				found(token.NoPos, "the table lists %s above %s, which it imports", row.dir, dir)
			}
		}
		if _, twice := allowed[row.dir]; twice {
			found(token.NoPos, "the table lists %s twice", row.dir)
		}
		allowed[row.dir] = imports
	}
	exists, used := map[string]bool{}, map[[2]string]bool{}
	for _, s := range tree {
		if s.test {
			continue
		}
		exists[s.dir()] = true
		if _, listed := allowed[s.dir()]; !listed {
			found(s.file.Package, "the table lacks %s", s.dir())
		}
		s.imports(func(at token.Pos, dir string) {
			used[[2]string{s.dir(), dir}] = true
			if !slices.Contains(allowed[s.dir()], dir) {
				found(at, "%s imports %s", s.dir(), dir)
			}
		})
	}
	for _, row := range l {
		if !exists[row.dir] {
			found(token.NoPos, "the table lists %s, which does not exist", row.dir)
		}
		for _, dir := range allowed[row.dir] {
			if !used[[2]string{row.dir, dir}] {
				found(token.NoPos, "the table has %s import %s, which it does not", row.dir, dir)
			}
		}
	}
}

// reasons names types, by folder and name, and says why each may be larger than others.
type reasons map[string]string

// largeTypes are the exceptions.
var largeTypes = reasons{
	"config.Cluster": "mirrors the keys of a [[clusters]] table of lb.toml",
}

// typeSize is how large a type is, and where.
type typeSize struct {
	fields, methods int // an embedded type counts as one
	at              token.Pos
}

func (r reasons) check(tree []source, found report) {
	sizes := typeSizes(tree)
	for _, name := range slices.Sorted(maps.Keys(sizes)) {
		size := sizes[name]
		if large := size.fields > 20 || size.methods > 25; large != (r[name] != "") {
			found(size.at, "%s has %d fields and %d methods; its reason in largeTypes is %q", name, size.fields, size.methods, r[name])
		}
	}
	for name := range r {
		if _, exists := sizes[name]; !exists {
			found(token.NoPos, "largeTypes lists %s, which does not exist", name)
		}
	}
}

// typeSizes measures all types that code declares. A struct or an interface without a name counts as its own type, named for its line.
func typeSizes(tree []source) map[string]typeSize {
	sizes := map[string]typeSize{}
	resize := func(name string, at token.Pos, fields, methods int) {
		size := sizes[name]
		size.fields += fields
		size.methods += methods
		if at != token.NoPos {
			size.at = at
		}
		sizes[name] = size
	}
	for _, s := range tree {
		if s.test {
			continue
		}
		s.functions(func(f *ast.FuncDecl) {
			if f.Recv != nil {
				resize(s.dir()+"."+receiver(f), token.NoPos, 0, 1)
			}
		})
		names := map[ast.Expr]string{}
		name := func(n ast.Expr) string {
			return cmp.Or(names[n], fmt.Sprintf("%s:%d", s.path, s.set.Position(n.Pos()).Line))
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.TypeSpec:
				names[n.Type] = s.dir() + "." + n.Name.Name
				resize(names[n.Type], n.Pos(), 0, 0)
			case *ast.StructType:
				resize(name(n), n.Pos(), n.Fields.NumFields(), 0)
			case *ast.InterfaceType:
				resize(name(n), n.Pos(), 0, n.Methods.NumFields())
			}
			return true
		})
	}
	return sizes
}

// receiver is the name of the type that a method belongs to.
func receiver(f *ast.FuncDecl) string {
	expr := f.Recv.List[0].Type
	for {
		switch e := expr.(type) {
		case *ast.StarExpr:
			expr = e.X
		case *ast.IndexExpr:
			expr = e.X
		case *ast.IndexListExpr:
			expr = e.X
		case *ast.Ident:
			return e.Name
		default:
			return ""
		}
	}
}
