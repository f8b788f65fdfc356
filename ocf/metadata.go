package ocf

// usage is for an operator.
const usage = `Usage: bigbrother start|stop|monitor|status|reload|validate-all|meta-data|usage
lb's OCF resource agent, for a cluster manager. Parameters are environment variables:
  OCF_RESKEY_cluster   name of the cluster that this resource runs (required)
  OCF_RESKEY_config    path of the configuration (default: /etc/lb/lb.toml)
  OCF_RESKEY_control   control socket of lb balance (default: from the configuration)
Exit status: 0 success or running, 1 failed, 2 wrong parameter on this machine, 3 unknown action, 4 no privilege,
  5 not installed (no IPVS in this kernel, or no configuration), 6 wrong parameter on any machine, 7 not running.
Example:
  OCF_RESKEY_cluster=webapp /usr/lib/ocf/resource.d/braintree/bigbrother monitor
`

// metadata describes the agent to the cluster manager, by ra-api-1.dtd and metadata.rng of ClusterLabs' resource-agents. Pacemaker calls
// reload instead of stop and start when a parameter changes that is not unique. Newer agents name that action reload-agent, which the
// schema does not allow; Run accepts both.
const metadata = `<?xml version="1.0"?>
<!DOCTYPE resource-agent SYSTEM "ra-api-1.dtd">
<resource-agent name="bigbrother" version="1.0">
<version>1.0</version>
<longdesc lang="en">
Runs one cluster of lb on this load balancer: its service in the kernel (IPVS), with weights that follow the health of its nodes.
lb balance must run on every load balancer. Clone this resource, so that it runs on every balancer, and colocate the cluster's virtual
IPs with the clone: a takeover then only moves addresses, and the new balancer already has the right weights.
</longdesc>
<shortdesc lang="en">Runs a cluster of lb on this load balancer</shortdesc>
<parameters>
<parameter name="cluster" unique="1" required="1">
<longdesc lang="en">
The name of the cluster that this resource runs: NAME of [clusters.NAME] in the configuration.
</longdesc>
<shortdesc lang="en">Name of the cluster</shortdesc>
<content type="string"/>
</parameter>
<parameter name="config" unique="0" required="0">
<longdesc lang="en">
The path of lb's configuration. It names the control socket, and the cluster's mark if lb balance does not respond.
</longdesc>
<shortdesc lang="en">Configuration file</shortdesc>
<content type="string" default="/etc/lb/lb.toml"/>
</parameter>
<parameter name="control" unique="0" required="0">
<longdesc lang="en">
The control socket of lb balance, if it differs from the one in the configuration.
</longdesc>
<shortdesc lang="en">Control socket of lb balance</shortdesc>
<content type="string"/>
</parameter>
</parameters>
<actions>
<action name="start" timeout="30s"/>
<action name="stop" timeout="30s"/>
<action name="monitor" timeout="20s" interval="5s" depth="0"/>
<action name="status" timeout="20s"/>
<action name="reload" timeout="20s"/>
<action name="validate-all" timeout="10s"/>
<action name="meta-data" timeout="5s"/>
</actions>
</resource-agent>
`
