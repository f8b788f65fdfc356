package main_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// source is one Go file of this project.
type source struct {
	path    string // below the project's folder, with slashes
	content string
	set     *token.FileSet // one for all files
	file    *ast.File
	test    bool
}

// dir is the folder of the package, "." for the project's own.
func (s source) dir() string { return path.Dir(s.path) }

// report takes a violation: where it is, and what is there.
type report func(at token.Pos, format string, args ...any)

// fileRules are the rules of the house that a look at one file decides. TestHouseRulesCatch has an example of each.
var fileRules = []struct {
	name  string
	check func(s source, found report)
}{
	{"a file has at most 400 lines, a test file 600", fileLength},
	{"a function has at most 60 lines, in a test file 100", functionLength},
	{"a function has at most 5 parameters", parameterCount},
	{"there is no init()", noInit},
	{"package variables are errors, compiled patterns, embedded files, and tables with a comment", packageVariables},
	{"no package is named util, common or helpers", packageName},
	{"tests sleep only in the bubbles of testing/synctest", noSleep},
	{"no test is skipped", noSkip},
	{"the process ends in main.go or TestMain only", noExit},
	{"packages that decide do no input or output, take no locks and read no clock", noEffects},
	{"a line has at most 140 columns, a tab counts 4", lineLength},
	{"code uses the vocabulary of the field", vocabulary},
}

// treeRules are the rules that need all files. TestHouseTreeRulesCatch has an example of each.
var treeRules = []struct {
	name  string
	check func(tree []source, found report)
}{
	{"a package has one comment, and it starts with its name", packageComments},
	{"a package imports only what importTable allows", importTable.check},
	{"a struct has at most 20 fields and a type 25 methods, or a reason in largeTypes", largeTypes.check},
	{"another package uses every exported name", exportedNames},
}

func TestHouseRules(t *testing.T) {
	sources := readSources(t)
	for _, rule := range fileRules {
		t.Run(rule.name, func(t *testing.T) {
			for _, s := range sources {
				rule.check(s, reporter(t, s.set, rule.name))
			}
		})
	}
	for _, rule := range treeRules {
		t.Run(rule.name, func(t *testing.T) { rule.check(sources, reporter(t, sources[0].set, rule.name)) })
	}
}

// reporter reports violations as errors of a test.
func reporter(t *testing.T, set *token.FileSet, rule string) report {
	return func(at token.Pos, format string, args ...any) {
		t.Errorf("%s: %s: %s", set.Position(at), fmt.Sprintf(format, args...), rule)
	}
}

// TestRepositoryIsLean looks at all tracked files, whatever they are.
func TestRepositoryIsLean(t *testing.T) {
	const limit = 300_000
	// Written in parts, or this file would be one that names them.
	var registries []string
	for _, parts := range [][]string{
		{"proxy", "golang", "org"}, {"sum", "golang", "org"}, {"registry", "npmjs", "org"}, {"registry", "yarnpkg", "com"},
		{"pypi", "org"}, {"files", "pythonhosted", "org"}, {"rubygems", "org"}, {"index", "crates", "io"},
		{"deb", "debian", "org"}, {"snapshot", "debian", "org"}, {"deb", "nodesource", "com"}, {"archive", "ubuntu", "com"},
	} {
		registries = append(registries, strings.Join(parts, "."))
	}
	for _, path := range trackedFiles(t) {
		content, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			continue // deleted, and not yet committed
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(content) > limit {
			t.Errorf("%s:1: has %d bytes: a tracked file has at most %d", path, len(content), limit)
		}
		for _, registry := range registries {
			if at := bytes.Index(content, []byte(registry)); at >= 0 {
				t.Errorf("%s:%d: names %s: no file names the host of a package registry", path,
					1+bytes.Count(content[:at], []byte("\n")), registry)
			}
		}
	}
}

// trackedFiles asks git; a tree without git has nothing in it that is not the project's.
func trackedFiles(t *testing.T) []string {
	t.Helper()
	list, err := exec.Command("git", "ls-files", "-z").Output()
	if err == nil {
		return slices.DeleteFunc(strings.Split(string(list), "\x00"), func(path string) bool { return path == "" })
	}
	return walk(t, func(string) bool { return true })
}

func readSources(t *testing.T) []source {
	t.Helper()
	set := token.NewFileSet()
	var sources []source
	for _, path := range walk(t, func(path string) bool {
		return strings.HasSuffix(path, ".go") && !strings.Contains("/"+path, "/testdata/")
	}) {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, parse(t, set, path, string(content)))
	}
	if len(sources) == 0 {
		t.Fatal("found no Go files: does this test run in the project's folder?")
	}
	return sources
}

func parse(t *testing.T, set *token.FileSet, path, content string) source {
	t.Helper()
	file, err := parser.ParseFile(set, path, content, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	return source{path: path, content: content, set: set, file: file, test: strings.HasSuffix(path, "_test.go")}
}

func walk(t *testing.T, wanted func(path string) bool) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (path == ".git" || path == "build"):
			return filepath.SkipDir
		case entry.Type().IsRegular() && wanted(filepath.ToSlash(path)):
			paths = append(paths, filepath.ToSlash(path))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}
