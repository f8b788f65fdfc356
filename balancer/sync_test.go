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

// wantDaemons compares the running sync daemons with a list such as "master eth1 7, backup eth1 7".
func (r *rig) wantDaemons(want string) {
	r.t.Helper()
	daemons, err := r.table.Daemons(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	var words []string
	for _, d := range daemons {
		words = append(words, fmt.Sprintf("%s %s %d", d.Role, d.Interface, d.ID))
	}
	if got := strings.Join(words, ", "); got != want {
		r.t.Errorf("sync daemons %q, want %q\n%s", got, want, r.log)
	}
}

func TestSyncDaemonsFollowTheConfig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		web := webapp("web", 7, 1)
		reload := func(s config.Sync) error {
			return r.engine.Reload(t.Context(), &config.Config{Clusters: []config.Cluster{web}, Balancer: config.Balancer{Sync: s}}, false)
		}
		foreign := ipvs.Daemon{Role: ipvs.Backup, Interface: "eth9", ID: 1}
		if err := r.table.StartDaemon(t.Context(), foreign); err != nil {
			t.Fatal(err)
		}
		r.boot(web)
		r.wait(3 * time.Second)
		r.wantDaemons("backup eth9 1") // without sync in the config, lb leaves another program's daemon alone

		if err := reload(config.Sync{Interface: "eth1", ID: 7}); err != nil {
			t.Fatal(err)
		}
		r.wantDaemons("master eth1 7, backup eth1 7")
		if strings.Contains(r.log.String(), "drift") {
			t.Errorf("a change of the config is reported as drift:\n%s", r.log)
		}
		if err := r.table.StopDaemon(t.Context(), ipvs.Master); err != nil {
			t.Fatal(err)
		}
		r.wait(2*time.Second + minGap)
		r.wantDaemons("master eth1 7, backup eth1 7")
		r.wantLog("drift repaired", "start the master sync daemon on eth1, id 7")

		noDevice := errors.New("no such device")
		r.table.SetFault(func(c ipvs.Call) error {
			if c.Operation == "start daemon" {
				return noDevice
			}
			return nil
		})
		err := reload(config.Sync{Interface: "eth2", ID: 7})
		if err == nil || !strings.Contains(err.Error(), "eth2, id 7: no such device") {
			t.Errorf("a reload that leaves no sync daemons answers %v", err)
		}
		r.wantDaemons("")
		r.wantLog("kernel error: the kernel's sync daemons", "start the master sync daemon on eth2, id 7: no such device")
		r.table.SetFault(nil)
		r.wait(2*time.Second + minGap)
		r.wantDaemons("master eth2 7, backup eth2 7")
		r.wantLog("kernel error resolved: the kernel's sync daemons")

		if err := reload(config.Sync{}); err != nil {
			t.Fatal(err)
		}
		r.wantDaemons("")
		if err := r.table.StartDaemon(t.Context(), foreign); err != nil {
			t.Fatal(err)
		}
		r.wait(3 * time.Second)
		r.wantDaemons("backup eth9 1")
	})
}
