package cluster

import (
	"fmt"
	"strings"
)

// How many there are of each.
const (
	balancerCount = 3
	appCount      = 4
)

// fleet is the one lb.toml of all machines. With mh, and sloppy_tcp, a kernel sends a connection that it does not know to the node where the others would
// (docs/scale.md). The dependency has much time: while Pacemaker moves all that it has, the guest lets it wait for seconds.
const fleetConfig = `# The same file stands on every machine.
[agent.tunnel]
enabled = true

[services.webapp]
depends = [ { type = "http", url = "http://localhost:3000/heartbeat", interval = "10s", timeout = "9s" } ]
metrics = [ { type = "constant", weight = 100 } ]

[balancer]
set_sysctls = true

[balancer.sync]
interface = "eth0"

[clusters.webapp]
fwmark          = 7
scheduler       = "mh"
scheduler_flags = ["fallback", "port"]
prefer = ["load01", "load02"]
vips   = [ { address = "204.109.13.7", interface = "eth10", protocol = "tcp", ports = [443] } ]
nodes  = [ { address = "10.0.0.1" }, { address = "10.0.0.2" }, { address = "10.0.0.3" }, { address = "10.0.0.4" } ]
`

// corosync is the configuration of Corosync: a machine counts as lost 3 s after its last word, and a majority decides.
func corosyncConfig() string {
	var b strings.Builder
	b.WriteString(`totem {
  version: 2
  cluster_name: lab
  transport: udpu
  token: 3000
  secauth: off
}
quorum {
  provider: corosync_votequorum
}
logging {
  to_stderr: no
  to_syslog: no
  to_logfile: yes
  logfile: /var/log/corosync.log
  timestamp: hires
}
nodelist {
`)
	for n := 1; n <= balancerCount; n++ {
		fmt.Fprintf(&b, "  node {\n    ring0_addr: 10.0.0.%d\n    name: load%02d\n    nodeid: %d\n  }\n", 250+n, n, n)
	}
	b.WriteString("}\n")
	return b.String()
}

// basics is what a site tells Pacemaker beside the clusters of lb: how to fence, from where nothing else runs. The three balancers share two emulated processors, so that each seems to
// be short of them, and Pacemaker would do one thing after the other (load-threshold); all at once would be too much (batch-limit).
const fencingConfig = `<configuration>
  <crm_config>
    <cluster_property_set id="cib-bootstrap-options">
      <nvpair id="cib-bootstrap-options-stonith-enabled" name="stonith-enabled" value="true"/>
      <nvpair id="cib-bootstrap-options-stonith-action" name="stonith-action" value="off"/>
      <nvpair id="cib-bootstrap-options-no-quorum-policy" name="no-quorum-policy" value="stop"/>
      <nvpair id="cib-bootstrap-options-load-threshold" name="load-threshold" value="1000%"/>
      <nvpair id="cib-bootstrap-options-batch-limit" name="batch-limit" value="3"/>
    </cluster_property_set>
  </crm_config>
  <resources>
    <primitive id="strip" class="stonith" type="fence_strip">
      <instance_attributes id="strip-instance_attributes">
        <nvpair id="strip-hosts" name="pcmk_host_list" value="load01 load02 load03"/>
      </instance_attributes>
    </primitive>
  </resources>
  <constraints>
    <rsc_location id="strip-place" rsc="strip" node="load03" score="100"/>
  </constraints>
</configuration>
`

// bare is an address to compare with: it is made as lb makes its own, and prefers what webapp prefers. IPaddr2 is a shell script that may take
// more than half a minute of a busy guest: with the usual timeout Pacemaker would call a monitor failed, then the stop, and have the balancer
// switched off. So its actions have two minutes here, those of webapp's address, too, and the monitor of the bare one runs seldom.
const baselineConfig = `<configuration>
  <resources>
    <primitive id="bare" class="ocf" provider="heartbeat" type="IPaddr2">
      <instance_attributes id="bare-instance_attributes">
        <nvpair id="bare-ip" name="ip" value="204.109.13.9"/>
        <nvpair id="bare-netmask" name="cidr_netmask" value="32"/>
        <nvpair id="bare-nic" name="nic" value="eth10"/>
      </instance_attributes>
      <meta_attributes id="bare-meta_attributes">
        <nvpair id="bare-stickiness" name="resource-stickiness" value="1000"/>
      </meta_attributes>
      <operations>
        <op id="bare-start" name="start" interval="0s" timeout="120s"/>
        <op id="bare-stop" name="stop" interval="0s" timeout="120s"/>
        <op id="bare-monitor" name="monitor" interval="60s" timeout="120s"/>
      </operations>
    </primitive>
    <group id="group-webapp">
      <primitive id="vip-204.109.13.7">
        <operations>
          <op id="vip-204.109.13.7-start-0s" timeout="120s"/>
          <op id="vip-204.109.13.7-stop-0s" timeout="120s"/>
          <op id="vip-204.109.13.7-monitor-10s" timeout="120s"/>
        </operations>
      </primitive>
    </group>
  </resources>
  <constraints>
    <rsc_location id="prefer-bare-1" rsc="bare" node="load01" score="20"/>
    <rsc_location id="prefer-bare-2" rsc="bare" node="load02" score="10"/>
  </constraints>
</configuration>
`
