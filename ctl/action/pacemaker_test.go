package action

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/ctl/usage"
)

const twoClusters = `[clusters.web]
fwmark = 7
autostart = true
vips = [ { address = "192.0.2.1", ports = [443] } ]
nodes = [ { address = "10.0.0.1" } ]
[clusters.mail]
fwmark = 8
vips = [ { address = "192.0.2.2", ports = [25] } ]
nodes = [ { address = "10.0.0.1" } ]
`

func TestPacemakerPrintsTheNamedClusters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lb.toml")
	if err := os.WriteFile(path, []byte(twoClusters), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		form  string
		names []string
		has   string
		lacks string
		notes string
	}{
		"all, for crm": {"crm", nil, "clone clone-mail cluster-mail\ngroup group-mail vip-192.0.2.2", "nothing",
			"warning: clusters.web has autostart = true"},
		"one, for crm": {"crm", []string{"mail"}, `config="` + path + `"`, "cluster-web", ""},
		"one, for pcs": {"pcs", []string{"web"}, "resource clone clone-web cluster-web ocf:braintree:bigbrother", "mail",
			"warning: clusters.web"},
		"one, as XML": {"xml", []string{"mail"}, `<primitive id="cluster-mail" class="ocf" provider="braintree" type="bigbrother">`,
			"cluster-web", ""},
		"both, as XML": {"xml", []string{"mail", "web"}, `<group id="group-web">`, "control", "warning: clusters.web"},
		"one, twice":   {"crm", []string{"mail", "mail"}, "group group-mail ", "cluster-web", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out, notes bytes.Buffer
			if err := Pacemaker(Streams{Out: &out, Err: &notes}, cfg, tt.form, tt.names); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(out.String(), tt.has) || strings.Contains(out.String(), tt.lacks) {
				t.Errorf("not with %q and without %q:\n%s", tt.has, tt.lacks, &out)
			}
			if !strings.HasPrefix(notes.String(), tt.notes) || tt.notes == "" && notes.Len() > 0 {
				t.Errorf("notes %q, want %q", &notes, tt.notes)
			}
		})
	}
}

func TestPacemakerRejects(t *testing.T) {
	cfg := &config.Config{Path: "/etc/lb/lb.toml", Clusters: []config.Cluster{{Name: "mail"}, {Name: "web"}}}
	streams := Streams{Out: &bytes.Buffer{}, Err: &bytes.Buffer{}}
	wantError(t, Pacemaker(streams, cfg, "crm", []string{"web", "wbe"}), `/etc/lb/lb.toml has no cluster "wbe": its clusters are mail, web`)
	wantError(t, Pacemaker(streams, &config.Config{Path: "lb.toml"}, "crm", nil), "lb.toml has no clusters: add [clusters.NAME]")
	err := Pacemaker(streams, cfg, "yaml", nil)
	var usageErr *usage.Error
	if !errors.As(err, &usageErr) {
		t.Errorf("--as yaml: %v, want a usage error", err)
	}
}

func TestPacemakerOmitsDefaultPaths(t *testing.T) {
	paths, err := agentPaths(&config.Config{Path: client.DefaultConfig, Balancer: config.Balancer{Control: client.DefaultBalancerControl}})
	if err != nil || paths.Config != "" || paths.Control != "" {
		t.Errorf("%+v, %v", paths, err)
	}
	paths, err = agentPaths(&config.Config{Path: "/srv/../srv/lb.toml", Balancer: config.Balancer{Control: "/run/b.sock"}})
	if err != nil || paths.Config != "/srv/lb.toml" || paths.Control != "/run/b.sock" {
		t.Errorf("%+v, %v", paths, err)
	}
}
