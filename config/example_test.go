package config

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// shownDefault matches a key that is commented out in the example, and shownCheck a check.
var (
	shownDefault = regexp.MustCompile(`(?m)^(\s*)#([a-z0-9_]+ = )`)
	shownCheck   = regexp.MustCompile(`(?m)^(\s*)#(\{)`)
)

func TestExampleHasTheTalksCluster(t *testing.T) {
	cfg := load(t, write(t, Example))
	if len(cfg.Warnings()) > 0 {
		t.Errorf("warnings: %v", cfg.Warnings())
	}
	c, ok := cfg.Cluster("webapp")
	if !ok || c.Mark != 7 || c.Scheduler != "wlc" || c.Forwarding != IPIP || len(c.Nodes) != 2 || !cfg.Agent.Tunnel.Enabled {
		t.Errorf("cluster %+v", c)
	}
	if c.Nodes[0].Port != c.Nodes[1].Port || c.Nodes[0].Path != c.Nodes[1].Path {
		t.Errorf("the first node shows the defaults %+v, want %+v", c.Nodes[0], c.Nodes[1])
	}
	s, ok := cfg.Service("webapp")
	if !ok || len(s.Depends) != 1 || len(s.Metrics) != 2 {
		t.Fatalf("service %+v", s)
	}
	if d, m := s.Depends[0], s.Metrics[0]; d.Interval != m.Interval || d.Timeout != m.Timeout {
		t.Errorf("the http check shows the defaults %s and %s, want %s and %s", d.Interval, d.Timeout, m.Interval, m.Timeout)
	}
}

func TestExampleShowsTheDefaults(t *testing.T) {
	text := shownDefault.ReplaceAllString(Example, "$1$2")
	if n := len(shownDefault.FindAllString(Example, -1)); n < 15 {
		t.Fatalf("found only %d defaults", n)
	}
	without, with := load(t, write(t, Example)), load(t, write(t, text))
	with.Path = without.Path
	equal(t, with, without)
}

func TestExampleShowsChecksThatLoad(t *testing.T) {
	cfg := load(t, write(t, shownCheck.ReplaceAllString(Example, "$1$2")))
	var types []string
	for _, c := range append(cfg.Services[0].Depends, cfg.Services[0].Metrics...) {
		types = append(types, string(c.Role)+" "+c.Type)
	}
	want := []string{
		"dependency http", "dependency tcp", "dependency script",
		"metric cpu_load", "metric available_memory", "metric constant", "metric script",
	}
	if !slices.Equal(types, want) {
		t.Errorf("got %q, want %q", types, want)
	}
}

// TestExampleShowsEveryKey gets the keys of each table from the error about an unknown key.
func TestExampleShowsEveryKey(t *testing.T) {
	const odd = `
		unknown_xyzzy = 1
		[agent]
		unknown_xyzzy = 1
		tunnel = { unknown_xyzzy = 1 }
		tls = { unknown_xyzzy = 1 }
		[services.webapp]
		unknown_xyzzy = 1
		depends = [ { type = "constant", unknown_xyzzy = 1 } ]
		metrics = [ { type = "constant", unknown_xyzzy = 1 } ]
		[balancer]
		unknown_xyzzy = 1
		tls = { unknown_xyzzy = 1 }
		sync = { unknown_xyzzy = 1 }
		[clusters.webapp]
		unknown_xyzzy = 1
		downpage = { unknown_xyzzy = 1, tls = { unknown_xyzzy = 1 } }
		vips = [ { unknown_xyzzy = 1 } ]
		nodes = [ { unknown_xyzzy = 1 } ]
		sites = [ { unknown_xyzzy = 1 } ]
	`
	text := shownCheck.ReplaceAllString(shownDefault.ReplaceAllString(Example, "$1$2"), "$1$2")
	shown, _, err := lineNumbers(text)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Load(write(t, odd), validate)
	tables := 0
	for _, line := range strings.Split(err.Error(), "\n") {
		table, known, ok := strings.Cut(line, "unknown_xyzzy = 1: is an unknown key: remove it; known here: ")
		if !ok {
			continue
		}
		tables++
		_, table, _ = strings.Cut(table, ": ")
		for _, key := range strings.Split(known, ", ") {
			if table == "services.webapp.metrics[0]." && (key == "interval" || key == "timeout") {
				continue // shown once for all checks, in depends
			}
			if table == "" && key == "hooks" && strings.Contains(Example, "\n#   [hooks.page]\n") {
				continue // in a comment: a hook has no harmless default
			}
			if _, ok := shown[table+key]; !ok {
				t.Errorf("%s%s is not in the example", table, key)
			}
		}
	}
	if tables != 16 {
		t.Errorf("found the keys of %d tables, want 16:\n%v", tables, err)
	}
}
