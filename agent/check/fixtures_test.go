package check

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/golden"
)

// Each file in testdata/good loads. Each file in testdata/bad has exactly the mistakes in the .txt file next to it.
func TestFixtures(t *testing.T) {
	for _, kind := range []string{"good", "bad"} {
		files, err := filepath.Glob(filepath.Join("testdata", kind, "*.toml"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no fixtures in testdata/%s: %v", kind, err)
		}
		for _, file := range files {
			t.Run(kind+"/"+filepath.Base(file), func(t *testing.T) {
				cfg, err := config.Load(file, Validate)
				if kind == "good" {
					if err != nil || len(cfg.Services) != 1 {
						t.Errorf("Load = %v", err)
					}
					return
				}
				if err == nil {
					t.Fatal("no mistake is reported")
				}
				got := strings.ReplaceAll(err.Error(), filepath.Dir(file)+"/", "") + "\n"
				golden.Compare(t, strings.TrimSuffix(file, ".toml")+".txt", got)
			})
		}
	}
}

func TestTheExampleConfigurationIsValid(t *testing.T) {
	if _, err := config.Load(filepath.Join("..", "..", "config", "lb.toml"), Validate); err != nil {
		t.Error(err)
	}
}
