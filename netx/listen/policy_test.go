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

func TestReadTokenRequiresAPrivateRegularFile(t *testing.T) {
	dir := t.TempDir()
	pipe, link := filepath.Join(dir, "pipe"), filepath.Join(dir, "link")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(writeFile(t, "token", goodToken, 0o600), link); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, path, want string }{
		{"a valid token", writeFile(t, "token", goodToken+"\n", 0o600), ""},
		{"read-only", writeFile(t, "token", goodToken, 0o400), ""},
		{"through a symbolic link", link, ""},
		{"exactly 32 bytes", writeFile(t, "token", strings.Repeat("x", 32), 0o600), ""},
		{"group-readable", writeFile(t, "token", goodToken, 0o640), "chmod go= "},
		{"world-readable", writeFile(t, "token", goodToken, 0o604), "chmod go= "},
		{"group-writable", writeFile(t, "token", goodToken, 0o620), "chmod go= "},
		{"31 bytes", writeFile(t, "token", strings.Repeat("x", 31)+"\n", 0o600), "it has 31 bytes, at least 32 are required: generate one"},
		{"white space only", writeFile(t, "token", strings.Repeat(" \n", 40), 0o600), "it has 0 bytes"},
		{"two lines", writeFile(t, "token", goodToken+"\n"+goodToken, 0o600), "white space"},
		{"not ASCII", writeFile(t, "token", goodToken+"ü", 0o600), "not printable ASCII"},
		{"too long", writeFile(t, "token", strings.Repeat("x", maxTokenSize+1), 0o600), "more than 4096 bytes"},
		{"a pipe", pipe, "not a regular file"},
		{"a folder", dir, "not a regular file"},
		{"missing", filepath.Join(dir, "missing"), "no such file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			token, err := ReadToken(tc.path)
			switch {
			case tc.want == "" && (err != nil || len(token) < 32 || strings.TrimSpace(token) != token):
				t.Errorf("%q, %v", token, err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), tc.path)):
				t.Errorf("the error is %v, want %q", err, tc.want)
			case tc.want != "" && strings.Contains(err.Error(), goodToken):
				t.Errorf("the error reveals the token: %v", err)
			}
		})
	}
}

func TestOnlyTheTokenItselfMatches(t *testing.T) {
	p, err := testDaemon().LoadPolicy(config.Access{TokenFile: writeFile(t, "token", goodToken+"\n", 0o600)})
	if err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]bool{
		goodToken: true, "": false, goodToken[:38]: false, goodToken + "x": false, strings.ToUpper(goodToken): false,
	} {
		if got := p.tokenMatches(token); got != want {
			t.Errorf("%q: %v", token, got)
		}
	}
	if (&Policy{}).tokenMatches("") {
		t.Error("an empty token matches a policy without a token")
	}
}

func TestPolicyErrorsNameTheConfigurationKey(t *testing.T) {
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
		want   []string // nil: valid
	}{
		{"nothing", config.Access{}, nil},
		{"TLS", config.Access{TLS: good}, nil},
		{"TLS with clients", with(func(f *config.TLS) { f.ClientCAFile = ca.file() }), nil},
		{"a group by its ID", config.Access{ControlGroup: "0"}, nil},
		{"a missing token file", config.Access{TokenFile: "/nonexistent"}, []string{"agent.token_file", "no such file"}},
		{"no such group", config.Access{ControlGroup: "no-such-group"}, []string{"agent.control_group", "groupadd"}},
		{"a missing certificate file", with(func(f *config.TLS) { f.CertFile = "/nonexistent" }),
			[]string{"agent.tls.cert_file", "no such file"}},
		{"a world-readable key", with(func(f *config.TLS) { f.KeyFile = exposed }),
			[]string{"agent.tls.key_file", "chmod o= " + exposed}},
		{"the key of another certificate", with(func(f *config.TLS) { f.KeyFile = other.server().KeyFile }),
			[]string{"agent.tls.cert_file", "key_file", "PEM"}},
		{"a CA file without a certificate", with(func(f *config.TLS) { f.ClientCAFile = good.KeyFile }),
			[]string{"agent.tls.client_ca_file", "no certificate"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := testDaemon().LoadPolicy(tc.access)
			if (err == nil) != (tc.want == nil) || (p == nil) != (tc.want != nil) {
				t.Fatalf("%v, %v", p, err)
			}
			for _, w := range tc.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("no %q in: %v", w, err)
				}
			}
		})
	}
}
