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
		{"plain text is unchanged", "apt upgrades", "apt upgrades"},
		{"line ends become a space", "a\r\nb\n", "a b"},
		{"the escape character of a terminal sequence is removed", "x\x1b[31mred", "x [31mred"},
		{"broken UTF-8 is replaced", "\xffbad", "\ufffdbad"},
		{"non-ASCII letters are kept", "café ☕", "café ☕"},
		{"direction marks are removed", "a\u202eb", "a b"},
		{"leading and trailing spaces are removed", "  a  ", "a"},
		{"consecutive spaces become one", "a  b", "a b"},
		{"printable ASCII boundaries are kept", "~ end ", "~ end"},
		{"a tab becomes a space", "a\tb", "a b"},
		{"a delete character becomes a space", "a\x7fb", "a b"},
		{"an empty string is unchanged", "", ""},
		{"text of exactly the limit is unchanged", strings.Repeat("e", 64), strings.Repeat("e", 64)},
		{"text one byte over the limit is truncated", strings.Repeat("e", 65), strings.Repeat("e", 61) + "…"},
		{"a multi-byte character is not split", strings.Repeat("é", 40), strings.Repeat("é", 30) + "…"},
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
				t.Errorf("Line(%q, %d) = %q: contains %U", s, limit, got, r)
			}
		}
		if again := sanitize.Line(got, limit); again != got {
			t.Errorf("Line is not idempotent: %q, then %q", got, again)
		}
	})
}
