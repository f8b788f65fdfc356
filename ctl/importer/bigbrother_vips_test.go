package importer

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/braintree/lb/agent/check"
)

func TestParseVIP(t *testing.T) {
	for _, row := range []struct{ name, given, want string }{
		{"shortest", "web=203.0.113.7:443", `{ address = "203.0.113.7", ports = [443] }`},
		{"everything", "web=203.0.113.7:53,5353/udp@eth1",
			`{ address = "203.0.113.7", interface = "eth1", protocol = "udp", ports = [53, 5353] }`},
		{"IPv6", "web=[2001:db8::7]:443", `{ address = "2001:db8::7", ports = [443] }`},
		{"IPv6 without brackets", "web=2001:db8::7:443", ""},
		{"no name", "203.0.113.7:443", ""},
		{"no port", "web=203.0.113.7", ""},
		{"port 0", "web=203.0.113.7:0", ""},
		{"a host name", "web=www.example.com:443", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			v, err := ParseVIP(row.given)
			if (err == nil) != (row.want != "") || err == nil && (v.toml() != row.want || v.Cluster != "web") {
				t.Errorf("got %s, %v; want %s", v.toml(), err, row.want)
			}
			if err != nil && !strings.Contains(err.Error(), "write NAME=ADDRESS:PORT") {
				t.Errorf("error does not show the syntax: %v", err)
			}
		})
	}
}

func TestVIPsAreAssignedToTheirClusters(t *testing.T) {
	var vips []VIP
	for _, s := range []string{"webapp=203.0.113.7:443,443", "webapp=203.0.113.7:80,443", "webapp=203.0.113.8:443@eth1"} {
		v, err := ParseVIP(s)
		if err != nil {
			t.Fatal(err)
		}
		vips = append(vips, v)
	}
	source := filepath.Join("testdata", "bigbrother", "talk", "bigbrother.yml")
	r, err := BigBrother([]string{source}, Addresses{VIPs: vips}, check.Validate)
	if err != nil || len(r.Missing) > 0 {
		t.Fatal(err, r.Missing)
	}
	checkLoads(t, r.Text)
	if n := len(r.Config.Clusters[0].VIPs); n != 2 {
		t.Errorf("%d virtual IPs, want 2, one for each address and interface\n%s", n, r.Text)
	}
	if got := r.Config.Clusters[0].VIPs[0].Ports; !slices.Equal(got, []uint16{443, 80}) {
		t.Errorf("ports %v, want no duplicates", got)
	}
	vips[0].Cluster = "webap"
	_, err = BigBrother([]string{source}, Addresses{VIPs: vips}, check.Validate)
	if err == nil || !strings.Contains(err.Error(), "no cluster of this name") {
		t.Errorf("a virtual IP of an unknown cluster: %v", err)
	}
}

func TestUnreadableSources(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, row := range []struct{ name, path, want string }{
		{"no file", filepath.Join(dir, "none.yml"), "none.yml: cannot be read: no such file or directory: check the path"},
		{"a folder", dir, "cannot be read: is a directory"},
		{"not UTF-8", file("latin.yml", "a: \xe9\n"), "latin.yml: is not UTF-8"},
		{"not YAML", file("broken.yml", "a: 1\nb: [\n"), "broken.yml:3: is not YAML: did not find expected node content"},
		{"a list", file("list.yml", "- a\n"), "list.yml:1: is a list, not a table of clusters"},
		{"clusters that are text", file("text.yml", "clusters: web\n"), `text.yml:1: is "web", not a list of clusters`},
		{"an alias bomb", file("bomb.yml", "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"+
			"c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"+
			"e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n"), "bomb.yml"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := BigBrother([]string{row.path}, Addresses{}, check.Validate)
			checkResult(t, Result{}, err)
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %s", err, row.want)
			}
		})
	}
}
