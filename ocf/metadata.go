package ocf

// usage is for a person at the keyboard.
const usage = `Usage: bigbrother start|stop|monitor|status|reload|validate-all|meta-data|usage
The resource agent of lb, for a cluster manager. Parameters come in the environment:
  OCF_RESKEY_cluster   the cluster of the configuration that this resource is (required)
  OCF_RESKEY_config    the configuration (default: /etc/lb/lb.toml)
  OCF_RESKEY_control   control socket of lb balance (default: the configuration's)
Exit status: 0 done or running, 1 failed, 2 wrong parameter on this machine, 3 no such action, 4 no privilege,
  5 not installed (no IPVS in this kernel, no configuration), 6 wrong parameter on any machine, 7 not running.
Example:
  OCF_RESKEY_cluster=webapp /usr/lib/ocf/resource.d/braintree/bigbrother monitor
`

// metadata describes the agent to the cluster manager: ra-api-1.dtd and metadata.rng of ClusterLabs' resource-agents. reload is what Pacemaker
// calls, in place of a stop and a start, when a parameter changes that is not unique. Newer agents call that reload-agent, a word that
// the schema does not have; it is understood, too.
const metadata = `<?xml version="1.0"?>
<!DOCTYPE resource-agent SYSTEM "ra-api-1.dtd">
<resource-agent name="bigbrother" version="1.0">
<version>1.0</version>
<longdesc lang="en">
Runs one cluster of lb on this load balancer: its service in the kernel (IPVS), with weights that follow the health of its nodes.
lb balance must run on every load balancer. Clone this resource, so that every balancer has the cluster, and have its virtual IPs
where it runs: a takeover moves addresses only, and starts with the true weights.
</longdesc>
<shortdesc lang="en">Runs a cluster of lb on this load balancer</shortdesc>
<parameters>
<parameter name="cluster" unique="1" required="1">
<longdesc lang="en">
The cluster of the configuration, NAME of [clusters.NAME], that this resource runs.
</longdesc>
<shortdesc lang="en">Name of the cluster</shortdesc>
<content type="string"/>
</parameter>
<parameter name="config" unique="0" required="0">
<longdesc lang="en">
The configuration of lb. It tells the control socket, and the mark of the cluster when lb balance cannot.
</longdesc>
<shortdesc lang="en">Configuration file</shortdesc>
<content type="string" default="/etc/lb/lb.toml"/>
</parameter>
<parameter name="control" unique="0" required="0">
<longdesc lang="en">
The control socket of lb balance, where it is not the one that the configuration names.
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
