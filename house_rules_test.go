package main_test

import (
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// lines counts from the line of one position to that of another, both included.
func (s source) lines(from, to token.Pos) int {
	return s.set.Position(to).Line - s.set.Position(from).Line + 1
}

func (s source) limit(code, test int) int {
	if s.test {
		return test
	}
	return code
}

// functions calls f for each function and method that has a name.
func (s source) functions(f func(*ast.FuncDecl)) {
	for _, declaration := range s.file.Decls {
		if function, ok := declaration.(*ast.FuncDecl); ok {
			f(function)
		}
	}
}

// nameOf is what the file calls an imported package, "" if it does not import it.
func (s source) nameOf(imported string) string {
	for _, spec := range s.file.Imports {
		if importPath, _ := strconv.Unquote(spec.Path.Value); importPath != imported {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		name := path.Base(imported)
		if version, ok := strings.CutPrefix(name, "v"); ok && strings.Trim(version, "0123456789") == "" {
			name = path.Base(path.Dir(imported))
		}
		return name
	}
	return ""
}

// uses calls f with each place below node that reads one of the names of an imported package.
func (s source) uses(node ast.Node, path string, names []string, f func(at token.Pos, name string)) {
	pkg := s.nameOf(path)
	if pkg == "" {
		return
	}
	ast.Inspect(node, func(n ast.Node) bool {
		if selector, ok := n.(*ast.SelectorExpr); ok {
			x, isName := selector.X.(*ast.Ident)
			if isName && x.Name == pkg && slices.Contains(names, selector.Sel.Name) {
				f(selector.Pos(), path+"."+selector.Sel.Name)
			}
		}
		return true
	})
}

func fileLength(s source, found report) {
	if n := s.lines(s.file.FileStart, s.file.FileEnd-1); n > s.limit(400, 600) {
		found(s.file.Package, "%d lines", n)
	}
}

func functionLength(s source, found report) {
	s.functions(func(f *ast.FuncDecl) {
		if n := s.lines(f.Type.Pos(), f.End()); n > s.limit(60, 100) {
			found(f.Pos(), "%s has %d lines", f.Name.Name, n)
		}
	})
}

func parameterCount(s source, found report) {
	s.functions(func(f *ast.FuncDecl) {
		if n := f.Type.Params.NumFields(); n > 5 {
			found(f.Pos(), "%s has %d parameters", f.Name.Name, n)
		}
	})
}

func noInit(s source, found report) {
	s.functions(func(f *ast.FuncDecl) {
		if f.Recv == nil && f.Name.Name == "init" {
			found(f.Pos(), "init()")
		}
	})
}

func packageVariables(s source, found report) {
	for _, declaration := range s.file.Decls {
		general, ok := declaration.(*ast.GenDecl)
		if !ok || general.Tok != token.VAR {
			continue
		}
		for _, spec := range general.Specs {
			variable := spec.(*ast.ValueSpec)
			if !s.allowed(general, variable) {
				found(variable.Pos(), "var %s", variable.Names[0].Name)
			}
		}
	}
}

func (s source) allowed(general *ast.GenDecl, variable *ast.ValueSpec) bool {
	if variable.Names[0].Name == "_" || embeds(general.Doc) || embeds(variable.Doc) {
		return true
	}
	commented := general.Doc != nil || variable.Doc != nil
	return len(variable.Values) > 0 && !slices.ContainsFunc(variable.Values, func(value ast.Expr) bool {
		switch value := value.(type) {
		case *ast.CompositeLit:
			return !commented
		case *ast.CallExpr:
			return !s.makesConstant(value)
		}
		return true
	})
}

func embeds(doc *ast.CommentGroup) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool {
		return strings.HasPrefix(c.Text, "//go:embed ")
	})
}

// makesConstant says whether a call gives what Go has no constant for: an error, a compiled pattern or template, a parsed
// address; in tests also a flag or a date.
func (s source) makesConstant(call *ast.CallExpr) bool {
	selector, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	pkg, ok := selector.X.(*ast.Ident)
	if !ok {
		return false
	}
	switch name := pkg.Name + "." + selector.Sel.Name; name {
	case "errors.New", "fmt.Errorf", "regexp.MustCompile", "template.Must", "netip.MustParseAddr", "netip.MustParsePrefix",
		"netip.AddrFrom4", "netip.AddrPortFrom":
		return true
	case "time.Date":
		return s.test
	default:
		return s.test && pkg.Name == "flag"
	}
}

func packageName(s source, found report) {
	name := strings.TrimSuffix(s.file.Name.Name, "_test")
	if slices.Contains([]string{"util", "utils", "common", "helper", "helpers"}, name) {
		found(s.file.Package, "package %s", name)
	}
}

func noSleep(s source, found report) {
	if s.test && s.nameOf("testing/synctest") == "" {
		s.uses(s.file, "time", []string{"Sleep"}, func(at token.Pos, name string) { found(at, "%s", name) })
	}
}

func noSkip(s source, found report) {
	if s.nameOf("testing") == "" {
		return
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if ok && slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, selector.Sel.Name) {
			found(selector.Pos(), "%s", selector.Sel.Name)
		}
		return true
	})
}

func noExit(s source, found report) {
	if s.path == "main.go" {
		return
	}
	for _, declaration := range s.file.Decls {
		if f, ok := declaration.(*ast.FuncDecl); ok && s.test && f.Name.Name == "TestMain" {
			continue
		}
		for path, names := range map[string][]string{"os": {"Exit"}, "log": {"Fatal", "Fatalf", "Fatalln"}} {
			s.uses(declaration, path, names, func(at token.Pos, name string) { found(at, "%s", name) })
		}
	}
}

func lineLength(s source, found report) {
	file := s.set.File(s.file.FileStart)
	number := 0
	for line := range strings.Lines(s.content) {
		number++
		line = strings.TrimSuffix(line, "\n")
		if n := utf8.RuneCountInString(line) + 3*strings.Count(line, "\t"); n > 140 {
			found(file.LineStart(number), "%d columns", n)
		}
	}
}

// deciding are the packages that decide, and the types that they answer with.
var deciding = []string{"agent/score", "balancer/api", "balancer/cluster", "balancer/decide", "balancer/plan", "ocf/consistency", "ocf/crm",
	"ocf/pacemaker"}

// pure is what packages that decide may import, beside packages of this module.
var pure = []string{"cmp", "encoding/xml", "errors", "fmt", "maps", "math", "math/bits", "net/netip", "regexp", "slices",
	"strconv", "strings", "time"}

func noEffects(s source, found report) {
	if s.test || !slices.Contains(deciding, s.dir()) {
		return
	}
	for _, spec := range s.file.Imports {
		if path, _ := strconv.Unquote(spec.Path.Value); !slices.Contains(pure, path) && !strings.HasPrefix(path, module+"/") {
			found(spec.Pos(), "imports %s", path)
		}
	}
	clock := []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer"}
	s.uses(s.file, "time", clock, func(at token.Pos, name string) { found(at, "%s", name) })
	s.uses(s.file, "fmt", []string{"Print", "Printf", "Println"}, func(at token.Pos, name string) { found(at, "%s", name) })
}

// TestHouseRulesCatch tries each rule of fileRules on a violation and a harmless neighbour.
func TestHouseRulesCatch(t *testing.T) {
	seen := map[int]bool{}
	long := func(n int) string { return strings.Repeat("\n", n) }
	for _, row := range []struct {
		rule      int
		path      string
		bad, good string
	}{
		{0, "x/x.go", "package x" + long(400) + "type a int", "package x" + long(399) + "type a int\n"},
		{0, "x/x_test.go", "package x" + long(600) + "type a int", "package x" + long(599) + "type a int\n"},
		{1, "x/x.go", "package x\nfunc f() {" + long(60) + "}", "package x\nfunc f() {" + long(59) + "}"},
		{2, "x/x.go", "package x\nfunc f(a, b, c int, d, e, f string) {}", "package x\nfunc (x) f(a, b, c, d, e int) {}"},
		{3, "x/x.go", "package x\nfunc init() {}", "package x\nfunc (x) init() {}"},
		{4, "x/x.go", "package x\nvar a int", "package x\nvar _ i = (*c)(nil)\nvar e = errors.New(`e`)"},
		{4, "x/x.go", "package x\nvar a = []int{1}", "package x\n// a is a table.\nvar a = []int{1}"},
		{4, "x/x.go", "package x\nvar a = make(map[int]int)", "package x\n//go:embed a.txt\nvar a string"},
		{5, "x/x.go", "package util", "package utility"},
		{6, "x/x_test.go", "package x\nimport `time`\nfunc f() { time.Sleep(1) }",
			"package x\nimport (`time`; `testing/synctest`)\nfunc f() { time.Sleep(1) }"},
		{7, "x/x_test.go", "package x\nimport `testing`\nfunc f(t *testing.T) { t.Skip() }",
			"package x\nimport `testing`\nfunc f(t *testing.T) { t.Log() }"},
		{8, "x/x.go", "package x\nimport o `os`\nfunc f() { o.Exit(1) }", "package x\nimport `os`\nfunc f() { os.Getpid() }"},
		{8, "x/x_test.go", "package x\nimport `log`\nfunc f() { log.Fatal() }",
			"package x\nimport `os`\nfunc TestMain(m *testing.M) { os.Exit(1) }"},
		{9, "agent/score/x.go", "package score\nimport `io`", "package score\nimport `time`\ntype t time.Time"},
		{9, "balancer/cluster/x.go", "package cluster\nimport `sync`", "package cluster\nimport `" + module + "/config`"},
		{9, "balancer/plan/x.go", "package plan\nimport `time`\nvar t = time.Now", "package plan\nimport `net/netip`"},
		{9, "balancer/plan/x.go", "package plan\nimport `fmt`\nvar p = fmt.Println", "package plan\nimport `fmt`\nvar p = fmt.Sprint"},
		{10, "x/x.go", "package x // " + strings.Repeat("ä", 128), "package x // " + strings.Repeat("ä", 127)},
		{10, "x/x.go", "package x\n\t// " + strings.Repeat("x", 134), "package x\n\t// " + strings.Repeat("x", 133)},
		{11, "x/x.go", "package x\nfunc hurryUp() {}", "package x\nfunc hurray() {}"},
		{11, "x/x.go", "package x\n// that is hardly\n// meant", "package x\n// a meant, hardly"},
		{11, "x/x.go", "package x\nconst a = `the wait was in ` +\n\t`vain`", "package x\nconst a = `the vein`"},
		{11, "x/x.go", "package x\n// sent before for to read", "package x\nfunc f() { for to < 1 {} }"},
	} {
		count := func(content string) (n int) {
			fileRules[row.rule].check(parse(t, token.NewFileSet(), row.path, content), func(token.Pos, string, ...any) { n++ })
			return n
		}
		seen[row.rule] = true
		if count(row.bad) == 0 {
			t.Errorf("%q does not catch %q", fileRules[row.rule].name, row.bad)
		}
		if count(row.good) != 0 {
			t.Errorf("%q catches %q", fileRules[row.rule].name, row.good)
		}
	}
	if len(seen) != len(fileRules) {
		t.Errorf("%d of %d rules have an example here", len(seen), len(fileRules))
	}
}
