package main_test

import (
	"fmt"
	"go/token"
	"strings"
	"testing"
)

// TestHouseTreeRulesCatch tries each rule of treeRules on trees of a few files that violate it, and on a harmless neighbour.
func TestHouseTreeRulesCatch(t *testing.T) {
	const lib = "`" + module + "/lib`"
	table := layers{{"lib", ""}, {"app", "lib"}}
	fields := func(n int) string { return "package x\ntype T struct {" + strings.Repeat("a int;", n) + "}" }
	methods := func(n int) string { return "package x\ntype T int" + strings.Repeat("\nfunc (t *T) m() {}", n) }
	// user is a package that imports lib.
	user := func(body string) string { return "app/app.go: package app\nimport " + lib + "\n" + body }
	for i, row := range []struct {
		rule      int
		check     func(tree []source, found report)
		bad, good string
	}{
		{0, packageComments, "x/x.go: package x", "x/x.go: // Package x is x.\npackage x"},
		{0, packageComments, "x/x.go: // Package y is y.\npackage x", "x_test.go: // Package x is x.\npackage x"},
		{0, packageComments, "x/a.go: // Package x is a.\npackage x\n---x/b.go: // Package x is b.\npackage x",
			"x/a.go: // Package x is a.\npackage x\n---x/b.go: // It is b.\n\npackage x"},
		{1, table.check, "app/app.go: package app\n---lib/lib.go: package lib\nimport `" + module + "/app`",
			"lib/lib.go: package lib\n---" + user("")},
		{1, table.check, "lib/lib.go: package lib\n---app/app.go: package app\n---x/x.go: package x",
			"lib/lib.go: package lib\n---" + user("") + "\n---x/x_test.go: package x\nimport " + lib},
		{1, table.check, "lib/lib.go: package lib", "lib/lib.go: package lib\n---" + user("")},
		{1, table.check, "lib/lib.go: package lib\n---app/app.go: package app", "lib/lib.go: package lib\n---" + user("")},
		{1, append(table, table[0]).check, "lib/lib.go: package lib\n---" + user(""), ""},
		{1, layers{{"app", "lib"}, {"lib", ""}}.check, "lib/lib.go: package lib\n---app/app.go: package app", ""},
		{2, reasons{}.check, "x/x.go: " + fields(21), "x/x.go: " + fields(20)},
		{2, reasons{}.check, "x/x.go: package x\nfunc f() {" + fields(21)[len("package x\n"):] + "}", "x/x_test.go: " + fields(21)},
		{2, reasons{}.check, "x/x.go: " + methods(26), "x/x.go: " + methods(25)},
		{2, reasons{"x.T": "it is a table"}.check, "x/x.go: " + fields(20), "x/x.go: " + fields(21)},
		{2, reasons{"x.T": "it is a table"}.check, "x/x.go: package x", "x/x.go: " + methods(26)},
		{3, exportedNames, "lib/lib.go: package lib\nvar A = 1", "lib/lib.go: package lib\nvar A = 1\n---" + user("var a = lib.A")},
		{3, exportedNames, "lib/lib.go: package lib\nfunc F() {}\n---lib/lib_test.go: package lib\nvar f = F",
			"lib/lib.go: package lib\nfunc F() {}\n---lib/lib_test.go: package lib_test\nimport " + lib + "\nvar f = lib.F"},
		{3, exportedNames, "lib/lib.go: package lib\ntype T int\nfunc F() { T(1) }\n---" + user("var f = lib.F"),
			"lib/lib.go: package lib\ntype T int\nfunc F() *T\n---" + user("var f = lib.F")},
		{3, exportedNames, "lib/lib.go: package lib\ntype T int\ntype S struct { t T }\n---" + user("var s lib.S"),
			"lib/lib.go: package lib\ntype T int\ntype S struct { T }\n---" + user("var s lib.S")},
		{3, exportedNames, "lib/lib.go: package lib\ntype T int\nconst (\nA T = iota\nB\n)",
			"lib/lib.go: package lib\ntype T int\nconst (\nA T = iota\nB\n)\n---" + user("var t lib.T")},
		{3, exportedNames, "lib/lib.go: package lib\ntype t int\nfunc (t) Do() {}",
			"lib/lib.go: package lib\ntype t int\nfunc (t) String() {}"},
		{3, exportedNames, "lib/lib.go: package lib\ntype t int\nfunc (t) Do() {}\nfunc f(x t) { x.Do() }",
			"lib/lib.go: package lib\ntype t int\nfunc (t) Do() {}\n---app/app.go: package app\ntype i interface { Do() }"},
		{3, exportedNames, "lib/lib.go: package lib\nfunc F() {}\n---" + user("func f(lib struct{ F int }) { lib.F = 1 }"),
			"main.go: package main\nfunc F() {}"},
	} {
		name := fmt.Sprintf("row %d of %q", i, treeRules[row.rule].name)
		if violations(t, row.check, row.bad) == 0 {
			t.Errorf("%s does not catch %q", name, row.bad)
		}
		if row.good != "" && violations(t, row.check, row.good) != 0 {
			t.Errorf("%s catches %q", name, row.good)
		}
	}
}

// violations counts what a rule finds in files, each "path: content", with a line --- between them.
func violations(t *testing.T, check func([]source, report), files string) (n int) {
	t.Helper()
	set := token.NewFileSet()
	var tree []source
	for text := range strings.SplitSeq(files, "\n---") {
		path, content, _ := strings.Cut(text, ": ")
		tree = append(tree, parse(t, set, path, content))
	}
	check(tree, func(token.Pos, string, ...any) { n++ })
	return n
}
