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
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// source is one Go file of this project.
type source struct {
	path string // below the project's folder, with slashes
	set  *token.FileSet
	file *ast.File
	test bool
}

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
	{"packages that decide do no input or output and read no clock", noEffects},
}

// deciding lists the packages that the last of the rules is about.
var deciding = []string{"balancer/decide", "balancer/plan", "agent/score", "ocf/pacemaker", "ocf/crm", "ocf/consistency"}

// effects are what packages that decide do not import.
var effects = []string{"os", "net", "net/http", "io", "log/slog"}

func TestHouseRules(t *testing.T) {
	sources := readSources(t)
	for _, rule := range fileRules {
		t.Run(rule.name, func(t *testing.T) {
			for _, s := range sources {
				rule.check(s, func(at token.Pos, format string, args ...any) {
					t.Errorf("%s: %s: %s", s.set.Position(at), fmt.Sprintf(format, args...), rule.name)
				})
			}
		})
	}
	t.Run("a package has one comment, and it starts with its name", func(t *testing.T) {
		for _, mistake := range packageComments(sources) {
			t.Error(mistake)
		}
	})
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
	var sources []source
	for _, path := range walk(t, func(path string) bool {
		return strings.HasSuffix(path, ".go") && !strings.Contains("/"+path, "/testdata/")
	}) {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, parse(t, path, string(content)))
	}
	if len(sources) == 0 {
		t.Fatal("found no Go files: does this test run in the project's folder?")
	}
	return sources
}

func parse(t *testing.T, path, content string) source {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, content, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return source{path: path, set: set, file: file, test: strings.HasSuffix(path, "_test.go")}
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

// packageComments reads "Package x" of godoc; a command may say "Command x", and a package that is only tests has it in
// one of them.
func packageComments(sources []source) []string {
	type pkg struct{ dir, name string }
	files, comments := map[pkg][]string{}, map[pkg][]string{}
	var mistakes []string
	for _, s := range sources {
		dir := filepath.Dir(s.path)
		if s.test && slices.ContainsFunc(sources, func(o source) bool { return !o.test && filepath.Dir(o.path) == dir }) {
			continue
		}
		p := pkg{dir, s.file.Name.Name}
		files[p] = append(files[p], s.path)
		if s.file.Doc == nil {
			continue
		}
		comments[p] = append(comments[p], s.path)
		words := strings.Fields(s.file.Doc.Text())
		if len(words) < 3 || (words[0] != "Package" || words[1] != p.name) && (words[0] != "Command" || p.name != "main") {
			mistakes = append(mistakes, fmt.Sprintf("%s: the comment does not start with Package %s", s.set.Position(s.file.Doc.Pos()), p.name))
		}
	}
	for p, paths := range files {
		switch len(comments[p]) {
		case 0:
			mistakes = append(mistakes, fmt.Sprintf("%s:1: package %s has no comment", paths[0], p.name))
		case 1:
		default:
			mistakes = append(mistakes, fmt.Sprintf("%s:1: package %s has a comment in %s too", comments[p][0], p.name,
				strings.Join(comments[p][1:], ", ")))
		}
	}
	slices.Sort(mistakes)
	return mistakes
}
