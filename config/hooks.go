package config

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/braintree/lb/balancer/event"
)

// Hook passes the balancer's events on.
type Hook struct {
	Name     string
	Type     HookType
	Timeout  time.Duration     // of one delivery
	Events   []event.Kind      // exec, webhook: only these kinds; empty: all
	Clusters []string          // only events of these clusters, and events of no cluster; empty: all
	Argv     []string          // exec, nsca: the program and its arguments
	URL      string            // webhook
	Headers  map[string]string // webhook
	Host     string            // nsca: the host in Nagios; {cluster} stands for the cluster's name
	Service  string            // nsca: the passive check in Nagios; {cluster} stands for the cluster's name
}

// HookType says where a hook passes events.
type HookType string

// The types of hooks.
const (
	Exec    HookType = "exec"
	Webhook HookType = "webhook"
	NSCA    HookType = "nsca"
)

// Equal reports whether two hooks are the same.
func (h Hook) Equal(o Hook) bool {
	return h.Name == o.Name && h.Type == o.Type && h.Timeout == o.Timeout && slices.Equal(h.Events, o.Events) &&
		slices.Equal(h.Clusters, o.Clusters) &&
		slices.Equal(h.Argv, o.Argv) && h.URL == o.URL && maps.Equal(h.Headers, o.Headers) && h.Host == o.Host && h.Service == o.Service
}

// parsedHook is a hook with its table. Its clusters are checked after all clusters are read.
type parsedHook struct {
	d    *decoder
	hook Hook
}

// hook reads [hooks.NAME].
func (l *loader) hook(d *decoder, name string) Hook {
	checkName(d, name)
	h := Hook{Name: name, Type: HookType(d.str("type", "")), Timeout: d.duration("timeout", defaultHookTimeout),
		Clusters: d.strings("clusters")}
	if h.Timeout == 0 && !d.failed("timeout") {
		d.invalid("timeout", "must be above 0s", `use a duration such as "10s"`)
	}
	switch h.Type {
	case Exec:
		h.Argv = argv(d, nil)
		h.Events = kinds(d)
	case Webhook:
		h.URL, h.Headers, h.Events = d.str("url", ""), d.stringMap("headers"), kinds(d)
		if u, err := url.Parse(h.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			requireValid(d, "url", h.URL, "is not a full URL", `use one such as "https://chat.example.com/hooks/lb"`)
		}
	case NSCA:
		server := d.str("server", "")
		h.Host, h.Service = d.str("host", ""), d.str("service", defaultHookService)
		h.Argv = argv(d, []string{"send_nsca", "-H", server})
		if server == "" && !d.has("argv") {
			required(d, "server", "give the host of the Nagios server, or argv")
		}
		if h.Host == "" {
			required(d, "host", "give the host name that Nagios has for these checks")
		}
		for _, key := range []string{"host", "service"} {
			if strings.ContainsAny(d.str(key, ""), "\t\n\x00") {
				d.invalid(key, "contains a tab or newline, which separate the fields of send_nsca", "remove it")
			}
		}
	default:
		requireValid(d, "type", string(h.Type), "is not a type of hook", "use exec, webhook or nsca")
		return h // the other keys depend on it
	}
	l.hooks = append(l.hooks, parsedHook{d, h})
	d.done()
	return h
}

// argv reads a program and its arguments.
func argv(d *decoder, def []string) []string {
	v := d.strings("argv")
	if !d.has("argv") {
		v = def
	}
	if len(v) == 0 || v[0] == "" {
		required(d, "argv", `give a program and its arguments, such as ["/usr/local/bin/page", "--urgent"]`)
	}
	for _, s := range v {
		if strings.ContainsRune(s, 0) {
			d.invalid("argv", "contains a NUL character", "remove it")
		}
	}
	return v
}

// kinds reads the kinds of events that a hook passes on.
func kinds(d *decoder) []event.Kind {
	var known []string
	for _, k := range event.Kinds() {
		known = append(known, string(k))
	}
	var list []event.Kind
	for i, s := range d.strings("events") {
		if !slices.Contains(known, s) {
			fix := "docs/events.md lists all kinds"
			if near := nearest(s, known); near != "" {
				fix = "did you mean " + near + "?"
			}
			d.invalidAt(joinIndex(joinKey(d.path, "events"), i), s, "is not a kind of event", fix)
		}
		list = append(list, event.Kind(s))
	}
	return list
}

// checkHooks reports hooks for clusters that do not exist.
func (l *loader) checkHooks() {
	for _, u := range l.hooks {
		for i, name := range u.hook.Clusters {
			if _, ok := l.cfg.Cluster(name); !ok {
				u.d.invalidAt(joinIndex(joinKey(u.d.path, "clusters"), i), name, "is not a cluster of this configuration",
					fmt.Sprintf("use the name of a cluster, or add [clusters.%s]", name))
			}
		}
	}
}
