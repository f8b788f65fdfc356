package kernel

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/braintree/lb/netx/ipvs"
)

func TestSettingsAreChangedOnlyIfAsked(t *testing.T) {
	for _, c := range []struct {
		name  string
		value string // "" is a kernel that has no such setting
		asked bool
		after string
		log   string // what must be in it; "" is no log at all
	}{
		{"unsafe and not asked", "0", false, "0", "sysctl -w net.ipv4.vs.expire_nodest_conn=1"},
		{"unsafe and asked", "0", true, "1", "kernel setting changed"},
		{"safe", "1", true, "1", ""},
		{"missing", "", true, "", "cannot check a kernel setting"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "expire_nodest_conn")
			if c.value != "" {
				if err := os.WriteFile(file, []byte(c.value+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			var log bytes.Buffer
			CheckSettings(ipvs.SysctlDir(filepath.Dir(file)), ipvs.Features{Masq: true}, c.asked, slog.New(slog.NewTextHandler(&log, nil)))
			after, _ := os.ReadFile(file) // it may not be there
			if got := strings.TrimSpace(string(after)); got != c.after {
				t.Errorf("the setting is %q, want %q", got, c.after)
			}
			if !strings.Contains(log.String(), c.log) || (c.log == "") != (log.Len() == 0) {
				t.Errorf("log lacks %q:\n%s", c.log, log.String())
			}
		})
	}
}
