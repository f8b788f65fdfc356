package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"

	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/lab"
	"github.com/braintree/lb/netx/lab/testbed"
)

// Balancer is a load balancer that can be powered on and off.
type Balancer struct {
	Name string

	number  int
	cluster *Cluster

	mu        sync.Mutex // protects the fields below: the power strip switches the machine off
	bootCount int
	machine   *machine // nil without power
}

// machine is the state of a balancer between boot and power-off.
type machine struct {
	host      *lab.Host
	daemon    *testbed.Daemon
	table     ipvs.Table
	log       *os.File
	baseline  *http.Server
	corosync  *lab.Process
	pacemaker *lab.Process
}

// Host returns the running host, nil without power.
func (b *Balancer) Host() *lab.Host {
	if m := b.running(); m != nil {
		return m.host
	}
	return nil
}

// Daemon returns the running machine's lb balance.
func (b *Balancer) Daemon() *testbed.Daemon { return b.running().daemon }

func (b *Balancer) running() *machine {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.machine
}

// Boot powers the balancer on and starts what systemd would: Corosync, Pacemaker and lb balance. No state of an earlier boot is left.
func (b *Balancer) Boot(ctx context.Context) error {
	nets := b.cluster.nets
	host, err := b.cluster.lab.Host(b.Name,
		newLink(nets.public, publicInterface, fmt.Sprintf("204.109.13.%d/24", 10+b.number)),
		newLink(nets.private, "eth0", fmt.Sprintf("10.0.0.%d/24", 250+b.number)),
		newLink(nets.power, "eth1", fmt.Sprintf("10.9.0.%d/24", b.number)))
	if err != nil {
		return err
	}
	m := &machine{host: host}
	b.mu.Lock()
	b.machine = m
	b.bootCount++
	logs := filepath.Join(b.cluster.options.Logs, fmt.Sprintf("%s-boot%d", b.Name, b.bootCount))
	b.mu.Unlock()
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return err
	}
	if err := host.Do(func() error { return install(b.cluster.options.Binary, logs) }); err != nil {
		return fmt.Errorf("%s: %w", b.Name, err)
	}
	if m.log, err = os.Create(filepath.Join(logs, "lb-balance.log")); err != nil {
		return err
	}
	for path, text := range map[string]string{testbed.ConfigPath: fleetConfig, "/run/corosync.conf": corosyncConfig()} {
		if err := host.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := host.Do(func() (err error) { m.table, err = ipvs.NewKernel(); return err }); err != nil {
		return err
	}
	// When an address moves, the new balancer must accept connections whose SYN it has not seen.
	if err := host.Sysctl("net/ipv4/vs/sloppy_tcp", "1"); err != nil {
		return err
	}
	if err := b.serveBaseline(ctx, m); err != nil {
		return err
	}
	m.daemon = &testbed.Daemon{
		Host: host, Binary: b.cluster.options.Binary, Socket: "/run/lb/balancer.sock", Args: []string{"balance"}, Logs: m.log,
	}
	if m.corosync, err = host.Start(lab.Command{Path: "corosync", Args: []string{"-f", "-c", "/run/corosync.conf"}}); err != nil {
		return err
	}
	if m.pacemaker, err = host.Start(lab.Command{Path: "pacemakerd", Env: append(os.Environ(),
		"PCMK_logfile=/var/log/pacemaker.log", "PCMK_logfacility=none")}); err != nil {
		return err
	}
	return m.daemon.Start(ctx)
}

// serveBaseline answers with the machine's name on the baseline address's port, on every address of the machine.
func (b *Balancer) serveBaseline(ctx context.Context, m *machine) error {
	listener, err := m.host.Listen(ctx, "tcp", fmt.Sprintf("0.0.0.0:%d", Baseline.Port()))
	if err != nil {
		return err
	}
	m.baseline = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, b.Name)
	})}
	go func() { _ = m.baseline.Serve(listener) }() // returns when closed
	return nil
}

func (b *Balancer) stopBaseline() {
	if m := b.running(); m != nil && m.baseline != nil {
		_ = m.baseline.Close()
	}
}

// PowerOff cuts the power: nothing on the machine can send or save anything any more. Without power it does nothing.
func (b *Balancer) PowerOff() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.machine
	if m == nil {
		return nil
	}
	b.machine = nil
	err := b.cluster.lab.Remove(m.host)
	if m.baseline != nil {
		_ = m.baseline.Close()
	}
	if m.table != nil {
		err = errors.Join(err, m.table.Close())
	}
	return err
}
