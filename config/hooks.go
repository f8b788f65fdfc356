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

// Hook hands the balancer's events on.
type Hook struct {
	Name     string
	Type     HookType
	Timeout  time.Duration     // of one delivery
	Events   []event.Kind      // only these kinds; empty is all. Not of nsca
	Clusters []string          // only these clusters, and what concerns none; empty is all
	Argv     []string          // exec, nsca: the program and its arguments
	URL      string            // webhook
	Headers  map[string]string // webhook
	Host     string            // nsca: what Nagios calls this balancer, or the service's address; {cluster} is the cluster's name
	Service  string            // nsca: the passive check; {cluster} is the cluster's name
}

// HookType is where a hook hands events on to.
type HookType string

// The types of hooks.
const (
	Exec    HookType = "exec"
	Webhook HookType = "webhook"
	NSCA    HookType = "nsca"
)

// Equal tells whether two hooks do the same.
func (h Hook) Equal(o Hook) bool {
	return h.Name == o.Name && h.Type == o.Type && h.Timeout == o.Timeout && slices.Equal(h.Events, o.Events) && slices.Equal(h.Clusters, o.Clusters) &&
		slices.Equal(h.Argv, o.Argv) && h.URL == o.URL && maps.Equal(h.Headers, o.Headers) && h.Host == o.Host && h.Service == o.Service
}

// hookUse is a hook's mention of clusters, judged when all are known.
type hookUse struct {
	d    *decoder
	hook Hook
}

// hook reads [hooks.NAME].
func (l *loader) hook(d *decoder, name string) Hook {
	named(d, name)
	h := Hook{Name: name, Type: HookType(d.str("type", "")), Timeout: d.duration("timeout", defaultHookTimeout), Clusters: d.strings("clusters")}
	if h.Timeout == 0 && !d.faulty("timeout") {
		d.mistake("timeout", "leaves no time", `write one such as "10s"`)
	}
	switch h.Type {
	case Exec:
		h.Argv = argv(d, nil)
		h.Events = kinds(d)
	case Webhook:
		h.URL, h.Headers, h.Events = d.str("url", ""), d.stringMap("headers"), kinds(d)
		if u, err := url.Parse(h.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			required(d, "url", `give a full URL, such as "https://chat.example.com/hooks/lb"`)
		}
	case NSCA:
		server := d.str("server", "")
		h.Host, h.Service = d.str("host", ""), d.str("service", defaultHookService)
		h.Argv = argv(d, []string{"send_nsca", "-H", server})
		if server == "" && !d.has("argv") {
			required(d, "server", "name Nagios's host, or give argv")
		}
		if h.Host == "" {
			required(d, "host", "write what Nagios calls the host of these checks")
		}
		for _, key := range []string{"host", "service"} {
			if strings.ContainsAny(d.str(key, ""), "\t\n\x00") {
				d.mistake(key, "holds a tab or a line end, which part the fields of send_nsca", "take it out")
			}
		}
	default:
		required(d, "type", "write exec, webhook or nsca")
		return h // what else there may be depends on it
	}
	l.hookUses = append(l.hookUses, hookUse{d, h})
	d.done()
	return h
}

// argv reads a program with its arguments.
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
			d.mistake("argv", "holds a NUL character", "take it out")
		}
	}
	return v
}

// kinds reads the kinds of events that a hook is for.
func kinds(d *decoder) []event.Kind {
	var known []string
	for _, k := range event.Kinds() {
		known = append(known, string(k))
	}
	var list []event.Kind
	for i, s := range d.strings("events") {
		if !slices.Contains(known, s) {
			fix := "docs/events.md has all of them"
			if near := nearest(s, known); near != "" {
				fix = "did you mean " + near + "?"
			}
			d.mistakeAt(joinIndex(joinKey(d.path, "events"), i), s, "is no kind of event", fix)
		}
		list = append(list, event.Kind(s))
	}
	return list
}

// judgeHooks reports hooks of clusters that there are not.
func (l *loader) judgeHooks() {
	for _, u := range l.hookUses {
		for i, name := range u.hook.Clusters {
			if _, ok := l.cfg.Cluster(name); !ok {
				u.d.mistakeAt(joinIndex(joinKey(u.d.path, "clusters"), i), name, "is no cluster of this configuration",
					fmt.Sprintf("write the name of one, or add [clusters.%s]", name))
			}
		}
	}
}
