package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestLineNumbers(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want map[string]int
	}{
		"keys and tables": {
			"# comment\na = 1 # [x]\n\n[b.c]\r\n  d = \"]\" \n", map[string]int{"a": 2, "b": 4, "b.c": 4, "b.c.d": 5},
		},
		"an implied table": {
			"[a.b]\n[a]\n", map[string]int{"a": 2, "a.b": 1},
		},
		"dotted and quoted keys": {
			"a . \"b.c\" .'d e'.\"\\u00e4\\x41\\e\\\"\" = 1\n\"\" = 2", map[string]int{
				"a": 1, `a."b.c"`: 1, `a."b.c"."d e"`: 1, `a."b.c"."d e"."äA\x1b\""`: 1, `""`: 2,
			},
		},
		"arrays of tables": {
			"[[a]]\nx = 1\n[[a]]\n[a.b]\ny = 1\n[[a.c]]\nz = 1", map[string]int{
				"a": 1, "a[0]": 1, "a[0].x": 2, "a[1]": 3, "a[1].b": 4, "a[1].b.y": 5, "a[1].c": 6, "a[1].c[0]": 6, "a[1].c[0].z": 7,
			},
		},
		"inline tables in arrays over lines": {
			"a = [ # one ]\n  { b = 1, c = { d = 2 } },\n  [ 1,\n 2 ],\n\n 'x', { e = 1,\n f = 2, # }\n },\n]\ng = 1", map[string]int{
				"a": 1, "a[0]": 2, "a[0].b": 2, "a[0].c": 2, "a[0].c.d": 2, "a[1]": 3, "a[1][0]": 3, "a[1][1]": 4, "a[2]": 6,
				"a[3]": 6, "a[3].e": 6, "a[3].f": 7, "g": 10,
			},
		},
		"strings over lines": {
			"a = \"\"\"\n[b]\n\\\"\"\" c = 1 \\\n\"\"\"\"\"\n" +
				"d = '''\ne = ''f''\n'''\ng = '\\'\nh = \"\\\\\"\ni = 1979-05-27 07:32:00 # x", map[string]int{
				"a": 1, "d": 5, "g": 8, "h": 9, "i": 10,
			},
		},
		"a byte order mark": {"\ufeffa = 1", map[string]int{"a": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			got, _, err := lineNumbers(c.text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			var tree map[string]any
			if _, err := toml.Decode(c.text, &tree); err != nil {
				t.Errorf("the toml package rejects it: %v", err)
			}
		})
	}
}

func TestLineNumbersRejectDeepNesting(t *testing.T) {
	for name, text := range map[string]string{
		"arrays": "a = " + strings.Repeat("[", 1_000_000), "tables": "a = " + strings.Repeat("{a=", 1_000_000),
		"keys": strings.Repeat("a.", 1_000_000) + "a = 1", "header": "[" + strings.Repeat("a.", 1_000_000) + "a]",
	} {
		if _, line, err := lineNumbers("\n" + text); !errors.Is(err, errNesting) || line != 2 {
			t.Errorf("%s: line %d: %v", name, line, err)
		}
	}
}

// paths lists the paths of all keys and array elements of a tree.
func paths(path string, v any) []string {
	var out []string
	switch v := v.(type) {
	case map[string]any:
		for key, e := range v {
			out = append(append(out, joinKey(path, key)), paths(joinKey(path, key), e)...)
		}
	case []any:
		for i, e := range v {
			out = append(append(out, joinIndex(path, i)), paths(joinIndex(path, i), e)...)
		}
	}
	return out
}

// seed adds all fixtures, the example, and some malformed texts.
func seed(f *testing.F) {
	f.Add(Example)
	for _, pattern := range []string{"testdata/*/*.toml", "testdata/*/*/*.toml", "testdata/*/*/*/*.toml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(text))
		}
	}
	for _, s := range []string{
		"", "\x00", "\x15", "\xff\xfe2=2\t", "\ufeff", "a", "a=", "a.=1", "[", "[[", "[]", "[[a]", "a=[", "a=[,]", "a={", "a={,}", "a=\"",
		"a='''", "a=\"\\", "\"\\u\"=1",
		"'", "\"\"\"=1", "a=[[1],[2,{b=1}]]", "a=\"\"\"\\\"\"\"\"\"\"", "[[a]]\n[[a.b]]\n[a.b.c]\n", "a.b=1\n[a]\nc=1",
		"\"\\U0010ffff\"=1", "a=[#\n]",
	} {
		f.Add(s)
	}
}

// FuzzLineNumbers checks that every key and element of a valid document has a line, and nothing else.
func FuzzLineNumbers(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, text string) {
		lines, _, err := lineNumbers(text)
		for path, line := range lines {
			if line < 1 || line > strings.Count(text, "\n")+1 {
				t.Errorf("%s is in line %d", path, line)
			}
		}
		tree := map[string]any{}
		if err != nil {
			return
		}
		if _, err := toml.Decode(text, &tree); err != nil {
			return
		}
		want := paths("", normalize(tree))
		slices.Sort(want)
		got := make([]string, 0, len(lines))
		for path := range lines {
			got = append(got, path)
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("(-decoded +found):\n%s", diff)
		}
	})
}

// FuzzLoad checks that any text gives a configuration, or errors of one line each with a location and a fix.
func FuzzLoad(f *testing.F) {
	seed(f)
	path := filepath.Join(f.TempDir(), "lb.toml")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := Load(path, validate)
		if (cfg == nil) == (err == nil) {
			t.Fatalf("%v and %v", cfg, err)
		}
		if err == nil {
			return
		}
		ds, ok := errors.AsType[Diagnostics](err)
		if !ok || len(ds) == 0 {
			t.Fatalf("the error is %T %v", err, err)
		}
		for _, d := range ds {
			if d.File == "" || d.Problem == "" || d.Fix == "" || strings.ContainsAny(d.String(), "\n\x00") {
				t.Errorf("%#v", d)
			}
		}
	})
}
