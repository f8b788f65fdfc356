package kernel

import (
	"strings"
	"testing"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

func TestSyncStepsMakeExactlyTheWantedDaemonsRun(t *testing.T) {
	d := func(r ipvs.Role, iface string, id uint8) ipvs.Daemon {
		return ipvs.Daemon{Role: r, Interface: iface, ID: id}
	}
	eth1 := config.Sync{Interface: "eth1", ID: 7}
	for _, c := range []struct {
		name    string
		want    config.Sync
		running []ipvs.Daemon
		steps   string
	}{
		{"nothing wanted, nothing there", config.Sync{}, nil, ""},
		{"both are missing", eth1, nil, "start the master sync daemon on eth1, id 7; start the backup sync daemon on eth1, id 7"},
		{"one is missing", eth1, []ipvs.Daemon{d(ipvs.Backup, "eth1", 7)}, "start the master sync daemon on eth1, id 7"},
		{"both are there", eth1, []ipvs.Daemon{d(ipvs.Master, "eth1", 7), d(ipvs.Backup, "eth1", 7)}, ""},
		{"another interface and another id", eth1, []ipvs.Daemon{d(ipvs.Master, "eth0", 7), d(ipvs.Backup, "eth1", 8)},
			"stop the master sync daemon on eth0, id 7; start the master sync daemon on eth1, id 7; " +
				"stop the backup sync daemon on eth1, id 8; start the backup sync daemon on eth1, id 7"},
		{"none is wanted any more", config.Sync{}, []ipvs.Daemon{d(ipvs.Master, "eth0", 7), d(ipvs.Backup, "eth1", 8)},
			"stop the master sync daemon on eth0, id 7; stop the backup sync daemon on eth1, id 8"},
	} {
		var words []string
		for _, s := range syncSteps(c.want, c.running, "") {
			words = append(words, s.String())
		}
		if got := strings.Join(words, "; "); got != c.steps {
			t.Errorf("%s:\n%s\nwanted\n%s", c.name, got, c.steps)
		}
	}
}
