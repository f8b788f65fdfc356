package balancer

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

func TestTimeoutsFollowTheConfig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		web := webapp("web", 7, 1)
		reload := func(o config.Timeouts) error {
			next := &config.Config{Clusters: []config.Cluster{web}, Balancer: config.Balancer{Timeouts: o}}
			return r.engine.Reload(t.Context(), next, false)
		}
		mustReload := func(o config.Timeouts) {
			if err := reload(o); err != nil {
				t.Fatal(err)
			}
		}
		want := func(tcp, udp time.Duration) {
			t.Helper()
			got, err := r.table.Timeouts(t.Context())
			if err != nil || got != (ipvs.Timeouts{TCP: tcp, TCPFin: 2 * time.Minute, UDP: udp}) {
				t.Errorf("timeouts %+v, %v; want %s and %s\n%s", got, err, tcp, udp, r.log)
			}
		}
		foreign := func(o ipvs.Timeouts) {
			if err := r.table.SetTimeouts(t.Context(), o); err != nil {
				t.Fatal(err)
			}
		}
		foreign(ipvs.Timeouts{UDP: 30 * time.Second})
		r.boot(web)
		r.wait(3 * time.Second)
		want(15*time.Minute, 30*time.Second) // without timeouts in the config, lb leaves another program's alone

		mustReload(config.Timeouts{TCP: time.Hour})
		want(time.Hour, 30*time.Second)
		r.wantLog("connection timeouts changed", "timeout of open TCP connections 15m0s → 1h0m0s")
		if strings.Contains(r.log.String(), "drift") {
			t.Errorf("a change of the config is reported as drift:\n%s", r.log)
		}
		foreign(ipvs.Timeouts{TCP: time.Minute, UDP: time.Minute})
		r.wait(2*time.Second + minGap)
		want(time.Hour, time.Minute)
		r.wantLog("drift repaired: another program changed the kernel's connection timeouts", "1m0s → 1h0m0s")

		r.table.SetFault(func(c ipvs.Call) error {
			if c.Operation == "set timeouts" {
				return errors.New("operation not permitted")
			}
			return nil
		})
		incomplete := (*api.IncompleteError)(nil)
		if err := reload(config.Timeouts{TCP: 2 * time.Hour}); !errors.As(err, &incomplete) {
			t.Errorf("a reload that the kernel does not follow: %v", err)
		}
		r.wantLog("kernel error: the kernel's connection timeouts", "set timeouts of connections: operation not permitted")
		r.table.SetFault(nil)
		r.wait(2*time.Second + minGap)
		want(2*time.Hour, time.Minute)
		r.wantLog("kernel error resolved: the kernel's connection timeouts")

		mustReload(config.Timeouts{})
		foreign(ipvs.Timeouts{TCP: 5 * time.Minute})
		r.wait(3 * time.Second)
		want(5*time.Minute, time.Minute)
	})
}
