package main_test

import (
	"bytes"
	"go/ast"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
)

// retired maps words that this project used to have in its own sense to the standard terms. Names do not contain them.
var retired = map[string]string{
	"agenda":      "schedule",
	"appointment": "run",
	"breath":      "minimum gap",
	"crew":        "worker pool",
	"cycle":       "reconcile",
	"hurried":     "urgent",
	"hurry":       "fast path",
	"leaver":      "leaving",
	"mend":        "fix",
	"meters":      "metrics",
	"oddments":    "errors",
	"oneline":     "sanitize",
	"parted":      "leaving",
	"plight":      "condition",
	"rehearsal":   "preview",
	"rehearse":    "preview",
	"rehearses":   "preview",
	"ripen":       "complete",
	"signs":       "watchdog",
	"stranger":    "unmanaged",
	"unheard":     "no heartbeat",
}

// retiredFiles are words that are harmless elsewhere, and say nothing as the name of a file or a package.
var retiredFiles = map[string]string{
	"agree":   "consistency",
	"hear":    "last seen",
	"keep":    "recordstore",
	"life":    "lifecycle",
	"look":    "read",
	"once":    "checkrun",
	"pass":    "reconcile",
	"place":   "location",
	"planned": "preview",
	"settle":  "decide",
	"take":    "observe, parse or adopt",
	"tell":    "event or log",
	"told":    "event or log",
	"trouble": "last error",
	"weigh":   "decide",
}

// retiredPhrases are phrases that no native speaker writes. They end where a word ends; one that ends with a space goes on with a word.
var retiredPhrases = []string{
	"hurry", "hurried", "ripen", "ripens", "plight", "oddments", "rehearse", "rehearses", "rehearsal", "leaver", "leavers",
	"hardly meant", "in vain", "true or left out", "silent nothing", "is one, too", "own word", "kernel obeys",
	"a mend", "the mend", "its mend", "their mend", "for to ", "for there", "for who ", "only who ", "lets who", "who has it may",
	"come to be", "comes to be", "came to be", "such as is", "such as are", "has not got", "have not got", "had not got",
}

// phrases calls found with the offset of each retired phrase in a text.
func phrases(text string, found func(at int, phrase string)) {
	simple, offsets := plain(text)
	for _, phrase := range retiredPhrases {
		for from := 0; ; {
			at := strings.Index(simple[from:], " "+phrase)
			if at < 0 {
				break
			}
			from += at + len(" "+phrase)
			if letter := 'a' <= simple[from] && simple[from] <= 'z'; letter == strings.HasSuffix(phrase, " ") {
				found(offsets[from-len(phrase)], phrase)
			}
		}
	}
}

// plain replaces each run of white space and of the marks of comments and strings with one space, so that a phrase may continue in the
// next line, and capitals with small letters. offsets has the offset in the text of each byte.
func plain(text string) (simple string, offsets []int) {
	b := []byte{' '}
	offsets = []int{0}
	for i := range len(text) {
		c := text[i]
		if strings.IndexByte(" \t\n/#\"`+(", c) >= 0 {
			c = ' '
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != ' ' || b[len(b)-1] != ' ' {
			b, offsets = append(b, c), append(offsets, i)
		}
	}
	return string(b) + " ", offsets
}

// vocabulary checks the names of a file and all of its text. The rules of the house have to write the words that they find.
func vocabulary(s source, found report) {
	if strings.HasPrefix(s.path, "house_") {
		return
	}
	file := s.set.File(s.file.FileStart)
	phrases(s.content, func(at int, phrase string) { found(file.Pos(at), "%q", phrase) })
	for _, word := range strings.FieldsFunc(strings.TrimSuffix(s.path, ".go"), func(r rune) bool { return r == '/' || r == '_' }) {
		if instead := retired[word] + retiredFiles[word]; instead != "" {
			found(s.file.Package, "a file name has %q: write %s", word, instead)
		}
	}
	seen := map[string]bool{}
	ast.Inspect(s.file, func(n ast.Node) bool {
		name, ok := n.(*ast.Ident)
		if !ok || seen[name.Name] {
			return true
		}
		seen[name.Name] = true
		for _, word := range words(name.Name) {
			if retired[word] != "" {
				found(name.Pos(), "%s has %q: write %s", name.Name, word, retired[word])
			}
		}
		return true
	})
}

// words splits a name at its capitals: hurryStarts is hurry and starts.
func words(name string) []string {
	var split []string
	start := 0
	for i, r := range name {
		if i > start && (unicode.IsUpper(r) || r == '_') {
			split = append(split, strings.ToLower(strings.Trim(name[start:i], "_")))
			start = i
		}
	}
	return append(split, strings.ToLower(strings.Trim(name[start:], "_")))
}

func TestVocabularyCatchesFileNames(t *testing.T) {
	check := func(tree []source, found report) { vocabulary(tree[0], found) }
	for bad, good := range map[string]string{"told_test.go": "retold_test.go", "rehearsal/x.go": "preview/x.go", "crew.go": "screw.go"} {
		if violations(t, check, bad+": package x") == 0 {
			t.Errorf("%s is no violation", bad)
		}
		if violations(t, check, good+": package x") != 0 {
			t.Errorf("%s is a violation", good)
		}
	}
}

// TestTextsUseTheVocabularyOfTheField looks at what operators read beside Go's messages.
func TestTextsUseTheVocabularyOfTheField(t *testing.T) {
	scripts, err := filepath.Glob("scripts/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(scripts, "README.md", "config/lb.toml") {
		content, err := os.ReadFile(path)
		if err != nil {
			continue // a folder
		}
		phrases(string(content), func(at int, phrase string) {
			t.Errorf("%s:%d: %q", path, 1+bytes.Count(content[:at], []byte("\n")), phrase)
		})
	}
}
