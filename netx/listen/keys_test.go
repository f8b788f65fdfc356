package listen

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/braintree/lb/config"
)

const goodToken = "correct-horse-battery-staple-0123456789"

func TestATokenIsReadFromASecretFileOnly(t *testing.T) {
	dir := t.TempDir()
	pipe, link := filepath.Join(dir, "pipe"), filepath.Join(dir, "link")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(writeFile(t, "token", goodToken, 0o600), link); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, path, want string }{
		{"as it should be", writeFile(t, "token", goodToken+"\n", 0o600), ""},
		{"read-only", writeFile(t, "token", goodToken, 0o400), ""},
		{"by a link", link, ""},
		{"exactly 32 bytes", writeFile(t, "token", strings.Repeat("x", 32), 0o600), ""},
		{"group-readable", writeFile(t, "token", goodToken, 0o640), "chmod go= "},
		{"world-readable", writeFile(t, "token", goodToken, 0o604), "chmod go= "},
		{"group-writable", writeFile(t, "token", goodToken, 0o620), "chmod go= "},
		{"31 bytes", writeFile(t, "token", strings.Repeat("x", 31)+"\n", 0o600), "it has 31 bytes, at least 32 are needed: make a new one"},
		{"white space only", writeFile(t, "token", strings.Repeat(" \n", 40), 0o600), "it has 0 bytes"},
		{"two lines", writeFile(t, "token", goodToken+"\n"+goodToken, 0o600), "more than one word"},
		{"no ASCII", writeFile(t, "token", goodToken+"ü", 0o600), "no printable ASCII"},
		{"endless", writeFile(t, "token", strings.Repeat("x", maxToken+1), 0o600), "more than 4096 bytes"},
		{"a pipe", pipe, "no regular file"},
		{"a folder", dir, "no regular file"},
		{"none", filepath.Join(dir, "none"), "no such file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			token, err := ReadToken(tc.path)
			switch {
			case tc.want == "" && (err != nil || len(token) < 32 || strings.TrimSpace(token) != token):
				t.Errorf("%q, %v", token, err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), tc.path)):
				t.Errorf("the error is %v, want %q", err, tc.want)
			case tc.want != "" && strings.Contains(err.Error(), goodToken):
				t.Errorf("the secret is told: %v", err)
			}
		})
	}
}

func TestOnlyTheTokenItselfMatches(t *testing.T) {
	k, err := theAgent().LoadPolicy(config.Access{TokenFile: writeFile(t, "token", goodToken+"\n", 0o600)})
	if err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]bool{
		goodToken: true, "": false, goodToken[:38]: false, goodToken + "x": false, strings.ToUpper(goodToken): false,
	} {
		if got := k.matches(token); got != want {
			t.Errorf("%q: %v", token, got)
		}
	}
	if (&Policy{}).matches("") {
		t.Error("without a token, none matches")
	}
}

func TestKeysThatCannotBeUsedNameTheKeyOfTheConfiguration(t *testing.T) {
	ca, other := newAuthority(t, "ca"), newAuthority(t, "other")
	good := ca.server()
	exposed := writeFile(t, "key.pem", "x", 0o644)
	with := func(change func(*config.TLS)) config.Access {
		files := good
		change(&files)
		return config.Access{TLS: files}
	}
	for _, tc := range []struct {
		name   string
		access config.Access
		want   []string // none: it is fine
	}{
		{"nothing", config.Access{}, nil},
		{"TLS", config.Access{TLS: good}, nil},
		{"TLS with clients", with(func(f *config.TLS) { f.ClientCAFile = ca.file() }), nil},
		{"a group by its number", config.Access{ControlGroup: "0"}, nil},
		{"no token there", config.Access{TokenFile: "/nonexistent"}, []string{"agent.token_file", "no such file"}},
		{"no such group", config.Access{ControlGroup: "no-such-group"}, []string{"agent.control_group", "groupadd"}},
		{"no certificate there", with(func(f *config.TLS) { f.CertFile = "/nonexistent" }), []string{"agent.tls.cert_file", "no such file"}},
		{"a key that all may read", with(func(f *config.TLS) { f.KeyFile = exposed }), []string{"agent.tls.key_file", "chmod o= " + exposed}},
		{"another's key", with(func(f *config.TLS) { f.KeyFile = other.server().KeyFile }), []string{"agent.tls.cert_file", "key_file", "PEM"}},
		{"a CA file without one", with(func(f *config.TLS) { f.ClientCAFile = good.KeyFile }), []string{"agent.tls.client_ca_file", "no certificate"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k, err := theAgent().LoadPolicy(tc.access)
			if (err == nil) != (tc.want == nil) || (k == nil) != (tc.want != nil) {
				t.Fatalf("%v, %v", k, err)
			}
			for _, w := range tc.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("no %q in: %v", w, err)
				}
			}
		})
	}
}
