package check

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/braintree/lb/config"
)

// manual reads docs/checks.md.
func manual(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "checks.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// examples loads every configuration in the manual.
func examples(t *testing.T) []config.Service {
	t.Helper()
	var services []config.Service
	for _, block := range regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllStringSubmatch(manual(t), -1) {
		file := filepath.Join(t.TempDir(), "lb.toml")
		if err := os.WriteFile(file, []byte(block[1]), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Load(file, Validate)
		if err != nil {
			t.Errorf("%v in:\n%s", err, block[1])
			continue
		}
		services = append(services, cfg.Services...)
	}
	return services
}

func TestTheManualHasAnExampleOfEveryCheck(t *testing.T) {
	shown := map[kind]bool{}
	for _, s := range examples(t) {
		for _, c := range append(slices.Clone(s.Depends), s.Metrics...) {
			shown[kind{c.Role, c.Type}] = true
		}
	}
	for k := range constructors() {
		if !shown[k] {
			t.Errorf("docs/checks.md has no example of %s as %s", k.name, k.role)
		}
		if !regexp.MustCompile("(?m)^## .*\\b" + k.name + "\\b").MatchString(manual(t)) {
			t.Errorf("docs/checks.md has no section on %s", k.name)
		}
	}
}

// greeter sends a greeting to one connection, as a mail server does.
func greeter(t *testing.T, greeting string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if c, err := l.Accept(); err == nil {
			io.WriteString(c, greeting)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// The manual's example of a mail queue runs against fakes of the exporter and of Postfix: 250 mails give 75 points.
func TestTheManualsMailQueue(t *testing.T) {
	postfix, err := os.ReadFile(filepath.Join("testdata", "postfix-exporter.txt"))
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(examples(t), func(s config.Service) bool { return s.Name == "mailman" })
	if at < 0 {
		t.Fatal("docs/checks.md has no service mailman")
	}
	mailman := examples(t)[at]
	queue := build(t, mailman.Metrics[0], Host{}).(prometheus)
	queue.page.URL = exporter(t, string(postfix))
	if r := queue.Run(t.Context()); !r.OK || r.Value != 75 {
		t.Errorf("%+v", r)
	}
	smtp := build(t, mailman.Depends[0], Host{}).(tcp)
	smtp.Address = greeter(t, "220 mail.example.com ESMTP Postfix\r\n")
	want(t, smtp.Run(t.Context()), true, strings.TrimSpace(smtp.Expect))
}
