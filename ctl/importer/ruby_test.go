package importer

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// rubyRows are sources with the statements found in them: LINE NAME ARGUMENTS, or LINE ? REASON for a skipped one.
var rubyRows = []struct{ name, source, want string }{
	{"an empty file", "", ""},
	{"only comments", "# a\n=begin\nport 1\n=end\n", ""},
	{"a number with a sign", "cache_ttl -1", "1 cache_ttl -1"},
	{"parentheses", "port(\n 80\n)\nport 81", "1 port 80; 4 port 81"},
	{"two on a line", "port 80; port 81", "1 port 80; 1 port 81"},
	{"a continued line", "port \\\n 80", "1 port 80"},
	{"escapes", `data_directory "/a\"\n\u00e9\x41"`, `1 data_directory "/a\"\né` + `A"`},
	{"single quotes", `data_directory '/a\'\n#{x}'`, `1 data_directory "/a'\\n#{x}"`},
	{"percent literals", `data_directory %q(/a(b))`, `1 data_directory "/a(b)"`},
	{"interpolation", `data_directory "/a#{b}"`, "1 ? value is known only at run time"},
	{"a trailing condition", "port 80 if x\nport 81", "1 ? conditional or repeated code; 2 port 81"},
	{"arithmetic", "port 80 + 1", `1 ? unsupported Ruby code: "+"`},
	{"a method call on a value", `data_directory "/a".freeze`, `1 ? unsupported Ruby code: "."`},
	{"a constant", "data_directory DIR", `1 data_directory DIR`},
	{"a list", "port [1, :a, 'b', /c/i, %w[d e], nil, true]", `1 port [1 "a" "b" /c/i ["d" "e"] nil true]`},
	{"named arguments", `port 1, :a => 2, "b" => 3, c: 4, "d": 5`, `1 port 1 {a=2 b=3 c=4 d=5}`},
	{"a table", `port({ :a => [1, 2] })`, `1 port {a=[1 2]}`},
	{"a service", "service :a do |s|\n s.depends X, 1\nend", `1 service "a" { 2 depends X 1 }`},
	{"a service in braces", "service('a') { |s| s.depends X }", `1 service "a" { 1 depends X }`},
	{"a service without a parameter", "service('a') do\nend\nport 1", "1 ? the block has no parameter: expected do |s|; 3 port 1"},
	{"a service without an end", "service 'a' do |s|\n s.depends X\n",
		"1 ? the statement that starts on line 1 has no end: rest of the file skipped"},
	{"conditions", "if a\n if b then c end\n d if e\nelse\n x = if y\n 1 end\nend\nport 1",
		"1 ? conditional or repeated code; 8 port 1"},
	{"loops", "while a do\n b { c }\nend\nuntil a\n b\nend\nport 1",
		"1 ? conditional or repeated code; 4 ? conditional or repeated code; 7 port 1"},
	{"blocks", "a.each do |b|\n c(d) do\n end\nend\nport 1", `1 ? unsupported Ruby code: "a"; 5 port 1`},
	{"a chain", "a\n  .b\n  .c\nport 1", `1 ? unsupported Ruby code: "a"; 4 port 1`},
	{"a heredoc", "x <<-A, <<~B\n if \"\n A\n do '\n B\nport 1", `1 ? unsupported Ruby code: "x"; 6 port 1`},
	{"a method named end", "a.end\nport 1", `1 ? unsupported Ruby code: "a"; 2 port 1`},
	{"an unterminated string", "port 1\ndata_directory \"/a\nport 2\n",
		"1 port 1; 2 ? the string that starts on line 2 has no end: rest of the file skipped"},
	{"an extra end", "end\nport 1", `1 ? unsupported Ruby code: "end"; 2 port 1`},
	{"data", "port 1\n__END__\nport 2", "1 port 1"},
	{"division", "a = b / 2 # '\nport 1", `1 ? unsupported Ruby code: "a"; 2 port 1`},
	{"characters", "a = ?'\nport 1", `1 ? unsupported Ruby code: "a"; 2 port 1`},
}

func TestRubyStatements(t *testing.T) {
	for _, row := range rubyRows {
		t.Run(row.name, func(t *testing.T) {
			if diff := cmp.Diff(row.want, formatStatements(parseRuby("f", row.source))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func formatStatements(list []statement) string {
	var parts []string
	for _, s := range list {
		words := []string{fmt.Sprint(s.at.line)}
		if s.skipReason != "" {
			words = append(words, "?", s.skipReason)
		} else {
			words = append(words, s.name)
		}
		for _, v := range s.args {
			words = append(words, formatValue(v))
		}
		if s.body != nil {
			words = append(words, "{", formatStatements(s.body), "}")
		}
		parts = append(parts, strings.Join(words, " "))
	}
	return strings.Join(parts, "; ")
}

func formatValue(v value) string {
	var parts []string
	switch v.kind {
	case list:
		for _, item := range v.items {
			parts = append(parts, formatValue(item))
		}
		return "[" + strings.Join(parts, " ") + "]"
	case mapping:
		for _, p := range v.pairs {
			parts = append(parts, p.key+"="+formatValue(p.value))
		}
		return "{" + strings.Join(parts, " ") + "}"
	}
	return v.describe()
}

func TestRubyPatterns(t *testing.T) {
	for _, row := range []struct{ name, pattern, flags, want string }{
		{"plain", "OK", "", "OK"},
		{"line anchors", "^OK$", "", "(?m)^OK$"},
		{"ignore case", "ok", "i", "(?i)ok"},
		{"dot matches line ends", "a.b", "m", "(?s)a.b"},
		{"text anchors", `\Aok\z`, "", `\Aok\z`},
		{"extended syntax", "a b", "x", ""},
		{"lookbehind", "(?<!a)b", "", ""},
		{"an anchor that Go does not have", `a\Z`, "", ""},
		{"an inline flag", "(?m)a.b", "", ""},
		{"an intersection", "[a-z&&[^b]]", "", ""},
		{"hexadecimal digits", `\h+`, "", ""},
		{"an invalid pattern", "(", "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, problem := goPattern(row.pattern, row.flags)
			if got != row.want || (problem == "") != (row.want != "") {
				t.Errorf("got %q, %q; want %q", got, problem, row.want)
			}
		})
	}
}
