package cluster

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"
)

// powerStripAddress is the power strip's address in the power network.
const powerStripAddress = "10.9.0.100"

// fenceAgent is the fence agent that Pacemaker runs to switch a balancer off. As in ClusterLabs' agents, options are lines on standard
// input.
const fenceAgent = `#!/bin/sh
while IFS='=' read -r name value; do
  case $name in
    action) action=$value ;;
    port) port=$value ;;
  esac
done
case $action in
  metadata)
    cat <<'XML'
<?xml version="1.0" ?>
<resource-agent name="fence_strip" shortdesc="The lab's power strip">
<longdesc>Switches a balancer of the lab off.</longdesc>
<parameters>
<parameter name="action" required="1"><content type="string" default="off"/><shortdesc lang="en">What to do</shortdesc></parameter>
<parameter name="port" required="1"><content type="string"/><shortdesc lang="en">The machine</shortdesc></parameter>
</parameters>
<actions><action name="off"/><action name="monitor"/><action name="metadata"/></actions>
</resource-agent>
XML
    ;;
  off) exec curl -fsS -X POST "http://` + powerStripAddress + `/$port/off" ;;
  monitor) exec curl -fsS "http://` + powerStripAddress + `/" ;;
  *) exit 1 ;;
esac
`

// powerStrip is a power strip with the balancers plugged in.
type powerStrip struct {
	server *http.Server

	mu          sync.Mutex // protects switchedOff
	switchedOff []string   // names of balancers, in order
}

func newPowerStrip(ctx context.Context, c *Cluster) (*powerStrip, error) {
	host, err := c.lab.Host("strip", newLink(c.nets.power, "eth0", powerStripAddress+"/24"))
	if err != nil {
		return nil, err
	}
	listener, err := host.Listen(ctx, "tcp", powerStripAddress+":80")
	if err != nil {
		return nil, err
	}
	s := &powerStrip{}
	plugs := http.NewServeMux()
	plugs.HandleFunc("GET /", func(http.ResponseWriter, *http.Request) {})
	for _, b := range c.Balancers {
		plugs.HandleFunc("POST /"+b.Name+"/off", func(w http.ResponseWriter, _ *http.Request) {
			s.mu.Lock()
			s.switchedOff = append(s.switchedOff, b.Name)
			s.mu.Unlock()
			if err := b.PowerOff(); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
	}
	s.server = &http.Server{Handler: plugs, ReadHeaderTimeout: 30 * time.Second}
	go func() { _ = s.server.Serve(listener) }() // returns when closed
	return s, nil
}

// SwitchedOff returns the balancers that Pacemaker has switched off, in order.
func (c *Cluster) SwitchedOff() []string {
	c.powerStrip.mu.Lock()
	defer c.powerStrip.mu.Unlock()
	return slices.Clone(c.powerStrip.switchedOff)
}

// stop waits for requests in progress and stops the power strip.
func (s *powerStrip) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.server.Shutdown(ctx); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
