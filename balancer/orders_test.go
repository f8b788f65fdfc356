package balancer

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// tell has the engine's owner do something to a node.
func (b *bench) tell(cluster, address string, do func(*node)) {
	b.t.Helper()
	if err := b.engine.do(b.t.Context(), func(context.Context) {
		c, err := b.engine.find(cluster)
		if err != nil {
			b.t.Error(err)
			return
		}
		do(c.node(addr(address)))
	}); err != nil {
		b.t.Error(err)
	}
}

func TestADrainedNodeHasNoWeight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.fleet.set("10.0.0.1", 92)
		b.fleet.set("10.0.0.2", 100)
		c := webapp("web", 7, 1, 2)
		c.RampUpTime = 100 * time.Second
		b.boot(c)
		b.start("web")
		b.wait(10 * time.Second)
		b.tell("web", "10.0.0.2", func(n *node) { n.drain = "disk, by kim" })
		b.wait(2*time.Second + breath)
		b.want("7 wlc 10.0.0.1=92 10.0.0.2=0")
		b.wantLog(`cause="drained: disk, by kim"`)
		b.tell("web", "10.0.0.2", func(n *node) { n.drain = "" })
		b.wait(2*time.Second + breath)
		b.want("7 wlc 10.0.0.1=92 10.0.0.2=1")
		b.wait(102 * time.Second)
		b.want("7 wlc 10.0.0.1=92 10.0.0.2=100")
	})
}
