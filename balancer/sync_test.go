package balancer

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

// wantDaemons compares the sync daemons that run with "master eth1 7, backup eth1 7".
func (b *bench) wantDaemons(want string) {
	b.t.Helper()
	daemons, err := b.table.Daemons(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	var words []string
	for _, d := range daemons {
		words = append(words, fmt.Sprintf("%s %s %d", d.Role, d.Interface, d.ID))
	}
	if got := strings.Join(words, ", "); got != want {
		b.t.Errorf("sync daemons %q, wanted %q\n%s", got, want, b.log)
	}
}

func TestSyncDaemonsAreKeptAsTheConfigWants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		web := webapp("web", 7, 1)
		reload := func(s config.Sync) {
			if err := b.engine.Reload(t.Context(), &config.Config{Clusters: []config.Cluster{web}, Balancer: config.Balancer{Sync: s}}, false); err != nil {
				t.Fatal(err)
			}
		}
		foreign := ipvs.Daemon{Role: ipvs.Backup, Interface: "eth9", ID: 1}
		if err := b.table.StartDaemon(t.Context(), foreign); err != nil {
			t.Fatal(err)
		}
		b.boot(web)
		b.wait(3 * time.Second)
		b.wantDaemons("backup eth9 1") // no sync in the config: somebody else's is left alone

		reload(config.Sync{Interface: "eth1", ID: 7})
		b.wantDaemons("master eth1 7, backup eth1 7")
		if strings.Contains(b.log.String(), "drift") {
			t.Errorf("a change of the config is taken for drift:\n%s", b.log)
		}
		if err := b.table.StopDaemon(t.Context(), ipvs.Master); err != nil {
			t.Fatal(err)
		}
		b.wait(2*time.Second + minGap)
		b.wantDaemons("master eth1 7, backup eth1 7")
		b.wantLog("drift repaired", "start the master sync daemon on eth1, id 7")

		refusal := errors.New("no such device")
		b.table.SetFault(func(c ipvs.Call) error {
			if c.Operation == "start daemon" {
				return refusal
			}
			return nil
		})
		reload(config.Sync{Interface: "eth2", ID: 7})
		b.wantDaemons("")
		b.wantLog("kernel error: connection synchronization", "start the master sync daemon on eth2, id 7: no such device")
		b.table.SetFault(nil)
		b.wait(2*time.Second + minGap)
		b.wantDaemons("master eth2 7, backup eth2 7")
		b.wantLog("kernel error resolved: connection synchronization")

		reload(config.Sync{})
		b.wantDaemons("")
		if err := b.table.StartDaemon(t.Context(), foreign); err != nil {
			t.Fatal(err)
		}
		b.wait(3 * time.Second)
		b.wantDaemons("backup eth9 1")
	})
}
