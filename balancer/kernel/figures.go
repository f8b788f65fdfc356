package kernel

import (
	"context"
	"time"

	"github.com/braintree/lb/netx/ipvs"
)

// fresh is how old figures may be that a reader gets.
const fresh = 100 * time.Millisecond

// Figures reads the kernel's table for readers, apart from the reconcilers. Several goroutines may use it.
type Figures struct {
	table ipvs.Table
	turn  chan struct{} // holds a token; its owner may use what follows

	services []ipvs.Service
	at       time.Time // of services
}

// NewFigures returns figures of a table. A handle of its own keeps readers from delaying a reconcile.
func NewFigures(table ipvs.Table) *Figures {
	f := &Figures{table: table, turn: make(chan struct{}, 1)}
	f.turn <- struct{}{}
	return f
}

// Read returns the kernel's table: known, which a reconciler had at a time, if that is fresh; else one that is read now, or the
// newest that is known if that fails or ctx ends first.
func (f *Figures) Read(ctx context.Context, known []ipvs.Service, at time.Time) []ipvs.Service {
	select {
	case <-f.turn:
		defer func() { f.turn <- struct{}{} }()
	case <-ctx.Done():
		return known
	}
	if !at.Before(f.at) {
		f.services, f.at = known, at
	}
	if time.Since(f.at) > fresh {
		if services, err := f.table.Dump(ctx); err == nil {
			f.services, f.at = services, time.Now()
		}
	}
	return f.services
}
