//go:build lab

package e2e

import (
	"context"
	"testing"

	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/lab/testbed"
)

// openTable opens load01's table. Running ipvsadm would be too slow to read it many times a second.
func openTable(t *testing.T, s *testbed.Site) ipvs.Table {
	t.Helper()
	var table ipvs.Table
	err := s.BalancerHost.Do(func() error {
		kernel, err := ipvs.NewKernel()
		table = kernel
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = table.Close() }) // only read from
	return table
}

// dumpWeights returns the weights of mark 7 by address. It is empty without the service.
func dumpWeights(t *testing.T, table ipvs.Table) map[string]int {
	t.Helper()
	services, err := table.Dump(context.Background())
	if err != nil {
		t.Error(err)
	}
	now := map[string]int{}
	for _, service := range services {
		if service.Mark != 7 {
			continue
		}
		for _, d := range service.Destinations {
			now[d.Address.String()] = int(d.Weight)
		}
	}
	return now
}
