package balancer

import (
	"context"

	"github.com/braintree/lb/balancer/cluster"
	"github.com/braintree/lb/balancer/kernel"
	"github.com/braintree/lb/balancer/reconcile"
	"github.com/braintree/lb/netx/machine"
)

// Network reports the state of the machine's network.
type Network interface {
	Follow(targets []machine.Target) // sets the addresses whose places are of interest
	Run(ctx context.Context)
	States() <-chan *machine.State
	SyncMembers() (map[int]bool, error) // interfaces, by index, where the messages of sync daemons are received
}

// network is where an engine learns of the machine's network.
type network struct{ source Network } // nil: nowhere

// states delivers the states of the network; never any without a source.
func (n network) states() <-chan *machine.State {
	if n.source == nil {
		return nil
	}
	return n.source.States()
}

// follow makes the states show where a model's virtual IPs are.
func (n network) follow(m *cluster.Model) {
	if n.source != nil {
		n.source.Follow(m.Network().Targets())
	}
}

// observeNetwork takes in a state of the machine's network, and reconciles at once: what depends on it may have stopped working.
func (e *engine) observeNetwork(ctx context.Context, s *machine.State) {
	e.rec.Model.Network().Observe(s)
	e.rec.Kernel.Sync.Observe(kernel.Network{State: s, Members: e.network.source.SyncMembers})
	e.rec.Kernel.Settings.Expire()
	e.schedule.observed = true
	e.reconcile(ctx, reconcile.Network)
}
