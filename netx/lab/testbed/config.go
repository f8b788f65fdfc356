package testbed

import (
	"bytes"
	"fmt"
	"text/template"
)

// configTemplate is the lb.toml of all machines. A node's health is the content of its /run/health while its heartbeat passes: load would
// be equal on all nodes, because they share one kernel.
var configTemplate = template.Must(template.New("lb.toml").Parse(`# The same file on every machine.
[agent.tunnel]
enabled = true

[services.webapp]
depends = [
  { type = "http", url = "http://localhost:3000/heartbeat", interval = "{{.AgentInterval}}", timeout = "{{.AgentTimeout}}" },
]
metrics = [
  { type = "script", argv = ["cat", "/run/health"], weight = 100, interval = "{{.AgentInterval}}", timeout = "{{.AgentTimeout}}" },
]

[balancer]
set_sysctls = true
{{- if .Location}}
location = "{{.Location}}"
listen = "0.0.0.0:9292"
{{- end}}

[clusters.webapp]
fwmark         = 7
scheduler      = "{{.Scheduler}}"
check_interval = "{{.CheckInterval}}"
check_timeout  = "{{.Timeout}}"
ramp_up_time   = "{{.RampUp}}"
autostart      = true
{{- if .Location}}
relay          = true
sites          = [ { address = "{{.Other}}" } ]
{{- end}}
vips  = [ { address = "{{.VIP}}", interface = "eth10", protocol = "tcp", ports = [{{.Port}}] } ]
nodes = [
{{- range .Nodes}}
  { address = "{{.}}" },
{{- end}}
]
`))

// writeConfig writes lb.toml, with the configured apps as nodes, to every machine.
func (s *Site) writeConfig() error {
	var text bytes.Buffer
	values := map[string]any{
		"CheckInterval": s.options.CheckInterval,
		"Timeout":       s.options.CheckInterval * 9 / 10,
		"AgentInterval": AgentInterval,
		"AgentTimeout":  AgentInterval * 9 / 10,
		"Scheduler":     s.options.Scheduler,
		"RampUp":        s.options.RampUp,
		"VIP":           VIP,
		"Port":          Port,
		"Location":      s.location,
		"Other":         s.peer,
	}
	var nodes []string
	for _, app := range s.ConfiguredApps() {
		nodes = append(nodes, app.Address.String())
	}
	values["Nodes"] = nodes
	if err := configTemplate.Execute(&text, values); err != nil {
		return fmt.Errorf("write the fleet's lb.toml: %w", err)
	}
	return s.WriteConfig(text.Bytes())
}

// WriteConfig replaces lb.toml on every machine. Daemons read it at their next reload or start.
func (s *Site) WriteConfig(text []byte) error {
	if err := s.BalancerHost.WriteFile(ConfigPath, text, 0o644); err != nil {
		return err
	}
	for _, app := range s.Apps {
		if err := app.Host.WriteFile(ConfigPath, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
