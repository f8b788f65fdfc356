package cluster

import (
	"fmt"
	"strings"
)

// The size of the cluster.
const (
	balancerCount = 3
	appCount      = 4
)

// fleetConfig is the lb.toml of all machines. With mh and sloppy_tcp, a kernel sends a connection that it does not know to the same node as
// the others would (docs/scale.md). The dependency's timeout is long: while Pacemaker moves all resources, the guest stalls for seconds.
const fleetConfig = `# The same file on every machine.
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

// corosyncConfig returns the configuration of Corosync. A machine counts as lost after 3 s of silence, and quorum needs a majority.
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

// fencingConfig is what a site configures in Pacemaker besides lb's clusters: the fence device, on a balancer that runs nothing else.
// The three balancers share two emulated processors. With its default load-threshold, Pacemaker would find each overloaded and run one
// action at a time; batch-limit keeps it from running all at once.
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

// baselineConfig is an address like the ones that lb configures, with webapp's preferences. IPaddr2 is a shell script that can take
// more than 30 s in a busy guest. With the usual timeouts Pacemaker would count a monitor as failed, then the stop, and fence the
// balancer. So its actions, and those of webapp's address, have 2 min, and the baseline's monitor runs rarely.
const baselineConfig = `<configuration>
  <resources>
    <primitive id="baseline" class="ocf" provider="heartbeat" type="IPaddr2">
      <instance_attributes id="baseline-instance_attributes">
        <nvpair id="baseline-ip" name="ip" value="204.109.13.9"/>
        <nvpair id="baseline-netmask" name="cidr_netmask" value="32"/>
        <nvpair id="baseline-nic" name="nic" value="eth10"/>
      </instance_attributes>
      <meta_attributes id="baseline-meta_attributes">
        <nvpair id="baseline-stickiness" name="resource-stickiness" value="1000"/>
      </meta_attributes>
      <operations>
        <op id="baseline-start" name="start" interval="0s" timeout="120s"/>
        <op id="baseline-stop" name="stop" interval="0s" timeout="120s"/>
        <op id="baseline-monitor" name="monitor" interval="60s" timeout="120s"/>
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
    <rsc_location id="prefer-baseline-1" rsc="baseline" node="load01" score="20"/>
    <rsc_location id="prefer-baseline-2" rsc="baseline" node="load02" score="10"/>
  </constraints>
</configuration>
`
