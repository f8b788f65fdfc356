package balancer

import (
	"context"

	"github.com/braintree/lb/balancer/api"
	"github.com/prometheus/client_golang/prometheus"
)

// Describe sends the figures that Collect makes.
func (s *scrape) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		s.running, s.combined, s.trouble, s.rules, s.health, s.weight, s.kernel, s.state, s.age, s.read,
		s.active, s.inactive, s.conns, s.packets, s.bytes, s.kernelErrors, s.events, s.unwritten, s.streams, s.hooks,
	} {
		to <- d
	}
}

// figures sends figures with the same labels in front.
type figures struct {
	to     chan<- prometheus.Metric
	labels []string
}

func (f figures) gauge(d *prometheus.Desc, value float64, further ...string) {
	f.to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, append(f.labels[:len(f.labels):len(f.labels)], further...)...)
}

func (f figures) counter(d *prometheus.Desc, value uint64, further ...string) {
	f.to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), append(f.labels[:len(f.labels):len(f.labels)], further...)...)
}

// Collect reads the status.
func (s *scrape) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
	defer cancel()
	status := s.engine.Status(ctx)
	for _, c := range status.Clusters {
		f := figures{to, []string{c.Name}}
		f.gauge(s.running, oneIf(c.Running))
		f.gauge(s.combined, float64(c.CombinedWeight))
		f.gauge(s.trouble, oneIf(c.LastError != ""))
		f.gauge(s.rules, float64(c.Configured()))
		seen := map[string]bool{}
		for _, n := range c.Nodes {
			s.collectNode(figures{to, []string{c.Name, nodeName(seen, n)}}, n, n.State != api.StateLeaving)
		}
	}
	f := figures{to: to}
	f.counter(s.kernelErrors, uint64(status.KernelErrors))
	f.counter(s.events, s.engine.events.Last())
	f.counter(s.unwritten, s.engine.events.Lost())
	f.gauge(s.streams, float64(s.openStreams()))
	for name, n := range s.hookCounts() {
		f := figures{to, []string{name}}
		f.counter(s.hooks, n.Delivered, "delivered")
		f.counter(s.hooks, n.Failed, "failed")
		f.counter(s.hooks, n.Lost, "lost")
	}
}

// collectNode gives the figures of one node; of one that is not in the config only what the kernel has.
func (s *scrape) collectNode(f figures, n api.NodeStatus, configured bool) {
	f.gauge(s.state, 1, n.State)
	if configured {
		f.gauge(s.weight, float64(n.Weight))
		f.counter(s.read, n.Readings.Up, "up")
		f.counter(s.read, n.Readings.Down, "down")
		f.counter(s.read, n.Readings.Silent, "silent")
	}
	if n.Health != nil {
		f.gauge(s.health, float64(*n.Health))
	}
	if n.LastReading != nil {
		f.gauge(s.age, float64(*n.LastReading)/1000)
	}
	if n.KernelWeight == nil {
		return
	}
	f.gauge(s.kernel, float64(*n.KernelWeight))
	f.gauge(s.active, float64(n.ActiveConns))
	f.gauge(s.inactive, float64(n.InactiveConns))
	f.counter(s.conns, n.Traffic.Connections)
	f.counter(s.packets, n.Traffic.PacketsIn, "in")
	f.counter(s.packets, n.Traffic.PacketsOut, "out")
	f.counter(s.bytes, n.Traffic.BytesIn, "in")
	f.counter(s.bytes, n.Traffic.BytesOut, "out")
}
