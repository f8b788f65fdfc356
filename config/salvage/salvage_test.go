package salvage

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"
)

// write creates files in a new folder and returns the path of lb.toml in it.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "lb.toml")
}

func TestRead(t *testing.T) {
	none := map[string]uint32{}
	tests := map[string]struct {
		files map[string]string
		want  Found
	}{
		"a valid file": {
			map[string]string{"lb.toml": "agent.control = \"/a\"\nbalancer.control = \"/b\"\nclusters.web.fwmark = 7\n"},
			Found{AgentControl: "/a", BalancerControl: "/b", Marks: map[string]uint32{"web": 7}, Relays: none},
		},
		"includes, one of them broken": {
			map[string]string{
				"lb.toml":       "include = [\"conf.d/*.toml\", \"[\", 3]\nclusters.web.fwmark = 7\n",
				"conf.d/1.toml": "clusters.web.fwmark = 9\nclusters.db.fwmark = 8\n",
				"conf.d/2.toml": "clusters.mail.fwmark = ",
				"conf.d/3.toml": "balancer.control = \"/b\"\n",
			},
			Found{BalancerControl: "/b", Marks: map[string]uint32{"web": 7, "db": 8}, Relays: none},
		},
		"wrong types and unknown keys": {
			map[string]string{"lb.toml": "agent = 1\nbalancer.control = 2\nfoo.bar = 1\n" +
				"[clusters]\nweb = 1\ndb.fwmark = \"x\"\nmail.fwmark = -1\nold.fwmark = 5\nbig.fwmark = 4294967296\n"},
			Found{Marks: map[string]uint32{"old": 5}, Relays: none},
		},
		"relays": {
			map[string]string{"lb.toml": "[clusters]\na = { fwmark = 7, relay = true }\n" +
				"b = { fwmark = 8, relay = true, relay_offset = 5 }\n" +
				"c = { fwmark = 9, relay_offset = 5 }\nd = { fwmark = 4294967295, relay = true }\n" +
				"e = { fwmark = 10, relay = true, relay_offset = -3 }\n"},
			Found{Marks: map[string]uint32{"a": 7, "b": 8, "c": 9, "d": 4294967295, "e": 10},
				Relays: map[string]uint32{"a": 10007, "b": 13}},
		},
		"an empty file": {map[string]string{"lb.toml": ""}, Found{Marks: map[string]uint32{}, Relays: none}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Read(write(t, tt.files))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestReadFails(t *testing.T) {
	if _, err := Read(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent file: %v", err)
	}
	var parse toml.ParseError
	if _, err := Read(write(t, map[string]string{"lb.toml": "service :webapp do |s|\nend\n"})); !errors.As(err, &parse) {
		t.Errorf("Ruby file: %v", err)
	}
}
