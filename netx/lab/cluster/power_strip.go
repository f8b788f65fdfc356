package cluster

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"
)

// stripAddress is the power strip's in its own network.
const stripAddress = "10.9.0.100"

// fenceAgent is what Pacemaker has the power strip switch a balancer off by, in the manner of ClusterLabs' fence agents: options come as
// lines on standard input.
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
  off) exec curl -fsS -X POST "http://` + stripAddress + `/$port/off" ;;
  monitor) exec curl -fsS "http://` + stripAddress + `/" ;;
  *) exit 1 ;;
esac
`

// strip is a power strip that has the balancers plugged in.
type strip struct {
	server *http.Server

	mu  sync.Mutex // protects cut
	cut []string   // the balancers that it was told to switch off, in order
}

func newStrip(ctx context.Context, c *Cluster) (*strip, error) {
	host, err := c.lab.Host("strip", plug(c.nets.power, "eth0", stripAddress+"/24"))
	if err != nil {
		return nil, err
	}
	listener, err := host.Listen(ctx, "tcp", stripAddress+":80")
	if err != nil {
		return nil, err
	}
	s := &strip{}
	plugs := http.NewServeMux()
	plugs.HandleFunc("GET /", func(http.ResponseWriter, *http.Request) {})
	for _, b := range c.Balancers {
		plugs.HandleFunc("POST /"+b.Name+"/off", func(w http.ResponseWriter, _ *http.Request) {
			s.mu.Lock()
			s.cut = append(s.cut, b.Name)
			s.mu.Unlock()
			if err := b.PowerOff(); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
	}
	s.server = &http.Server{Handler: plugs, ReadHeaderTimeout: 30 * time.Second}
	go func() { _ = s.server.Serve(listener) }() // ends when it is closed
	return s, nil
}

// SwitchedOff are the balancers that Pacemaker had switched off, in order.
func (c *Cluster) SwitchedOff() []string {
	c.strip.mu.Lock()
	defer c.strip.mu.Unlock()
	return slices.Clone(c.strip.cut)
}

// stop waits for what the strip is doing.
func (s *strip) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.server.Shutdown(ctx); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
