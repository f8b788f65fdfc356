package sanitize_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/braintree/lb/netx/sanitize"
)

func TestLineReturnsOnePrintableLine(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"plain text stays", "apt upgrades", "apt upgrades"},
		{"line ends become a space", "a\r\nb\n", "a b"},
		{"terminal escapes lose their escape", "x\x1b[31mred", "x [31mred"},
		{"broken UTF-8 is replaced", "\xffbad", "\ufffdbad"},
		{"letters of other alphabets stay", "café ☕", "café ☕"},
		{"direction marks go", "a\u202eb", "a b"},
		{"leading and trailing space goes", "  a  ", "a"},
		{"spaces in a row become one", "a  b", "a b"},
		{"what prints last does", "~ end ", "~ end"},
		{"a tabulator becomes a space", "a\tb", "a b"},
		{"delete goes", "a\x7fb", "a b"},
		{"empty stays empty", "", ""},
		{"text that just fits stays", strings.Repeat("e", 64), strings.Repeat("e", 64)},
		{"text that just does not fit is cut", strings.Repeat("e", 65), strings.Repeat("e", 61) + "…"},
		{"long text is cut and says so", strings.Repeat("é", 40), strings.Repeat("é", 30) + "…"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := sanitize.Line(tc.in, 64); got != tc.want {
				t.Errorf("Line(%q) = %q, want %q", tc.in, got, tc.want)
			}
		})
	}
}

func FuzzLine(f *testing.F) {
	f.Add("a\nb", 10)
	f.Add("\xff\xfe\x00", 3)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = 3 + (limit&0xff+256)%256
		got := sanitize.Line(s, limit)
		if len(got) > limit || !utf8.ValidString(got) {
			t.Errorf("Line(%q, %d) = %q: too long or not UTF-8", s, limit, got)
		}
		for _, r := range got {
			if !unicode.IsPrint(r) && r != utf8.RuneError {
				t.Errorf("Line(%q, %d) = %q: holds %U", s, limit, got, r)
			}
		}
		if again := sanitize.Line(got, limit); again != got {
			t.Errorf("Clean is not stable: %q then %q", got, again)
		}
	})
}
