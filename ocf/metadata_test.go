package ocf

import (
	"bytes"
	"encoding/xml"
	"slices"
	"strings"
	"testing"

	"github.com/braintree/lb/balancer/client"
)

// description has the elements that ra-api-1.dtd and metadata.rng require. In the lab, ocf-tester validates the meta-data with xmllint.
type description struct {
	XMLName    xml.Name `xml:"resource-agent"`
	Name       string   `xml:"name,attr"`
	Version    string   `xml:"version"`
	Longdesc   string   `xml:"longdesc"`
	Shortdesc  string   `xml:"shortdesc"`
	Parameters []struct {
		Name      string `xml:"name,attr"`
		Required  string `xml:"required,attr"`
		Longdesc  string `xml:"longdesc"`
		Shortdesc string `xml:"shortdesc"`
		Content   struct {
			Type    string `xml:"type,attr"`
			Default string `xml:"default,attr"`
		} `xml:"content"`
	} `xml:"parameters>parameter"`
	Actions []struct {
		Name    string `xml:"name,attr"`
		Timeout string `xml:"timeout,attr"`
	} `xml:"actions>action"`
}

func TestMetadataDescribesTheAgent(t *testing.T) {
	var out, err bytes.Buffer
	if status := (Agent{}).Run(t.Context(), []string{"meta-data"}, nil, &out, &err); status != 0 || err.Len() > 0 {
		t.Fatalf("status %d: %s", status, &err)
	}
	var d description
	if err := xml.Unmarshal(out.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	if d.Name != "bigbrother" || d.Version == "" || d.Longdesc == "" || d.Shortdesc == "" {
		t.Errorf("incomplete: %+v", d)
	}
	var names []string
	for _, p := range d.Parameters {
		names = append(names, p.Name)
		if p.Longdesc == "" || p.Shortdesc == "" || p.Content.Type != "string" {
			t.Errorf("incomplete parameter: %+v", p)
		}
		if !strings.Contains(usage, "OCF_RESKEY_"+p.Name+" ") {
			t.Errorf("usage does not list %s", p.Name)
		}
		if p.Name == "config" && p.Content.Default != client.DefaultConfig {
			t.Errorf("default of config is %s", p.Content.Default)
		}
	}
	if want := []string{"cluster", "config", "control"}; !slices.Equal(names, want) {
		t.Errorf("parameters %q, want %q", names, want)
	}
	names = nil
	for _, a := range d.Actions {
		names = append(names, a.Name)
		if a.Timeout == "" {
			t.Errorf("%s has no timeout", a.Name)
		}
	}
	if want := []string{"start", "stop", "monitor", "status", "reload", "validate-all", "meta-data"}; !slices.Equal(names, want) {
		t.Errorf("actions %q, want %q", names, want)
	}
}

func TestUsage(t *testing.T) {
	tests := map[string]struct {
		args   []string
		status int
		stdout bool
	}{
		"usage":          {[]string{"usage"}, 0, true},
		"no action":      {nil, 2, false},
		"too many":       {[]string{"start", "webapp"}, 2, false},
		"unknown action": {[]string{"explode"}, 3, false},
		"promote":        {[]string{"promote"}, 3, false},
		"as an option":   {[]string{"--help"}, 0, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out, err bytes.Buffer
			if got := (Agent{}).Run(t.Context(), tt.args, nil, &out, &err); got != tt.status {
				t.Errorf("status %d, want %d", got, tt.status)
			}
			if onOut := strings.Contains(out.String(), "Usage: "); onOut != tt.stdout {
				t.Errorf("usage on standard output: %v, want %v", onOut, tt.stdout)
			}
			if onErr := strings.Contains(err.String(), "Usage: "); onErr == tt.stdout {
				t.Errorf("usage on standard error: %v", onErr)
			}
		})
	}
}
