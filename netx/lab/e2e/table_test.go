//go:build lab

package e2e

import (
	"context"
	"testing"

	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/lab/testbed"
)

// kernelTable opens load01's table for reading many times a second, where running ipvsadm would be too slow.
func kernelTable(t *testing.T, s *testbed.Site) ipvs.Table {
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
	t.Cleanup(func() { _ = table.Close() }) // read only
	return table
}

// dump returns the weights of mark 7 by address; empty when the service is gone.
func dump(t *testing.T, table ipvs.Table) map[string]int {
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
