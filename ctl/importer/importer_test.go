package importer

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/braintree/lb/agent/check"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/golden"
)

// TestGoldens converts each folder of testdata/litmus and testdata/bigbrother. The source is in a file named after the program; want.toml
// is the result, want.txt the notes. A file called rules holds firewall rules.
func TestGoldens(t *testing.T) {
	for _, program := range []string{"litmus", "bigbrother"} {
		dirs, err := filepath.Glob(filepath.Join("testdata", program, "*"))
		if err != nil || len(dirs) == 0 {
			t.Fatalf("no sources of %s: %v", program, err)
		}
		for _, dir := range dirs {
			t.Run(program+"/"+filepath.Base(dir), func(t *testing.T) {
				r := convertFolder(t, program, dir)
				golden.Compare(t, filepath.Join(dir, "want.toml"), r.Text)
				var notes strings.Builder
				for _, n := range r.Notes {
					notes.WriteString(n.String() + "\n")
				}
				for _, m := range r.Missing {
					notes.WriteString("missing: " + m.String() + "\n")
				}
				golden.Compare(t, filepath.Join(dir, "want.txt"), notes.String())
				if len(r.Missing) == 0 {
					checkLoads(t, r.Text)
				}
			})
		}
	}
}

func convertFolder(t *testing.T, program, dir string) Result {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, program+".[cy]*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no source in %s: %v", dir, err)
	}
	var r Result
	if program == "litmus" {
		r, err = Litmus(files, check.Validate)
	} else {
		var addresses Addresses
		if rules := filepath.Join(dir, "rules"); exists(rules) {
			addresses.IPTables = rules
		}
		r, err = BigBrother(files, addresses, check.Validate)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// checkLoads checks that lb loads a result.
func checkLoads(t *testing.T, text string) {
	t.Helper()
	if _, err := config.LoadText("lb.toml", text, check.Validate); err != nil {
		t.Errorf("the result does not load: %v\n%s", err, text)
	}
}

// checkResult checks what must hold for the result of any source.
func checkResult(t *testing.T, r Result, err error) {
	t.Helper()
	var mistakes config.Mistakes
	if err != nil {
		if !errors.As(err, &mistakes) {
			t.Errorf("not a mistake in the source: %v", err)
		}
		return
	}
	if len(r.Missing) == 0 {
		checkLoads(t, r.Text)
	} else if _, err := config.LoadText("lb.toml", r.Text, check.Validate); err == nil {
		t.Errorf("loads although settings are missing: %v\n%s", r.Missing, r.Text)
	}
	for _, n := range r.Notes {
		if s := n.String(); strings.ContainsAny(s, "\n\x00\x1b") || n.Line < 1 {
			t.Errorf("note %q", s)
		}
	}
}

// FuzzRuby checks that any text gives mistakes or a result that loads.
func FuzzRuby(f *testing.F) {
	for _, path := range goldenSources(f, "litmus", ".conf") {
		f.Add(path)
	}
	for _, row := range rubyRows {
		f.Add(row.source)
	}
	f.Fuzz(func(t *testing.T, source string) {
		if strings.Contains(source, "include") {
			return // would read files of this machine
		}
		l := newLitmus()
		if err := l.source("litmus.conf", strings.ToValidUTF8(source, "?")); err != nil {
			checkResult(t, Result{}, err)
			return
		}
		r, err := l.finishImport(check.Validate)
		checkResult(t, r, err)
	})
}

// FuzzYAML checks for both programs that any text gives mistakes or a result that loads, missing settings aside.
func FuzzYAML(f *testing.F) {
	for _, source := range append(goldenSources(f, "litmus", ".yaml"), goldenSources(f, "bigbrother", ".yml")...) {
		f.Add(source)
	}
	f.Add("a: &a [1, *a]\n")
	f.Add("a: &a {x: 1}\nb: {<<: *a, <<: [*a, *a]}\n")
	f.Fuzz(func(t *testing.T, source string) {
		source = strings.ToValidUTF8(source, "?")
		if !strings.Contains(source, "include") {
			l := newLitmus()
			err := l.source("litmus.yaml", source)
			var r Result
			if err == nil {
				r, err = l.finishImport(check.Validate)
			}
			checkResult(t, r, err)
		}
		b := newBigBrother()
		err := b.source("big_brother.yml", source)
		var r Result
		if err == nil {
			r, err = b.finish(check.Validate)
		}
		checkResult(t, r, err)
	})
}

// FuzzIPTables checks that every rule that parses is a virtual IP.
func FuzzIPTables(f *testing.F) {
	for _, source := range goldenSources(f, "bigbrother", "rules") {
		f.Add(source)
	}
	f.Fuzz(func(t *testing.T, source string) {
		for _, r := range parseIPTables("rules", source, &notes{}) {
			if !r.vip.Address.IsValid() || len(r.vip.Ports) == 0 {
				t.Errorf("%+v", r)
			}
		}
	})
}

// goldenSources returns the texts of the source files with this suffix.
func goldenSources(tb testing.TB, program, suffix string) []string {
	tb.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", program, "*", "*"+suffix))
	if err != nil {
		tb.Fatal(err)
	}
	var texts []string
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	return texts
}
