package ctl

// The help texts of the commands: what the one-line usage does not say, exit statuses that differ from the general ones, and examples.

const listHelp = `Examples:
  lb ctl list
  lb ctl list --agent app02:9293
  lb ctl list --json`

const statusHelp = `Exit status: 0 the service is up, 1 it is down, 2 the agent does not have it.

Examples:
  lb ctl status webapp
  lb ctl status webapp --json
  lb ctl status webapp >/dev/null && echo up`

const forceHelp = `Without SERVICE, the force applies to every service of this app node. A force survives restarts
and lasts until it is deleted or expires (--for). The agent records each force in audit.log in
its data_dir.

Exit status: 0 the force is in effect, 1 it is stored but another force takes precedence (or the
agent failed), 2 refused.

Examples:
  lb ctl force down webapp -r "apt upgrades"
  lb ctl force down webapp -d
  lb ctl force down webapp --for 2h -r "new disks"
  lb ctl force health 42 webapp -r "half of the disks are gone"
  lb ctl force health webapp -d
  lb ctl force down -r "moving to another rack"
  lb ctl force down webapp -r "apt upgrades" --agent app02:9293 --token-file ~/.lb-token`

const clusterHelp = `Examples:
  lb ctl cluster list
  lb ctl cluster status webapp
  lb ctl cluster start webapp`

const clusterListHelp = `Examples:
  lb ctl cluster list
  lb ctl cluster list --json`

const clusterStatusHelp = `Examples:
  lb ctl cluster status webapp
  lb ctl cluster status webapp --json`

const clusterStartHelp = `Examples:
  lb ctl cluster start webapp`

const clusterStopHelp = `Examples:
  lb ctl cluster stop webapp`

const whyHelp = `Without NODE, all nodes of the cluster are shown. docs/rules.md explains the stages.

Examples:
  lb ctl why webapp
  lb ctl why webapp 10.0.0.2`

const eventsHelp = `With --json, each event is one line of JSON. docs/events.md lists the kinds of events.

Examples:
  lb ctl events
  lb ctl events --follow --cluster webapp
  lb ctl events --since 0 --json`

const planHelp = `Changes nothing. Without --config, the plan is "nothing to change" unless another program has
just edited the kernel's table. With --config, it lists every change, the connections of nodes
and services that leave or drop to weight 0, and what depends on the first readings of new
nodes. -c still names the file that says where the balancer listens.

Exit status: 0 the plan is printed, 2 the balancer would refuse a reload of FILE, 78 FILE has
errors.

Examples:
  lb ctl plan
  lb ctl plan --config ./lb.toml
  lb ctl plan --config /etc/lb/lb.toml && lb ctl reload
  lb ctl plan --config ./lb.toml --json`

const reloadHelp = `Waits until the kernel has the new configuration, with the clusters that it starts. Warnings name
settings that take a restart, and problems that stand.

Exit status: 0 the new configuration is in use, 1 it is in use but the kernel does not have all of
it (lb retries), 2 it is refused and nothing changed.

Examples:
  lb ctl check-config && lb ctl reload
  lb ctl reload --force`

const drainHelp = `A drain applies to this balancer only and survives restarts: drain the node on each balancer
that may run the cluster. The balancer records each drain in audit.log in its data_dir.

Exit status: 0 the node is drained (with --wait: and has no active connections), 1 --wait timed
out, or the kernel rejects the weight (lb retries): the drain continues; 2 refused.

Examples:
  lb ctl drain webapp 10.0.0.2 -r "apt upgrades"
  lb ctl drain webapp 10.0.0.2 -r "new disks" --for 2h --wait 5m
  lb ctl drain --host 10.0.0.2 -r "moving to another rack" --wait 10m`

const undrainHelp = `Examples:
  lb ctl undrain webapp 10.0.0.2
  lb ctl undrain --host 10.0.0.2`

const drainsHelp = `Examples:
  lb ctl drains
  lb ctl drains --json`

const checkConfigHelp = `On a load balancer, where lb balance has its socket (balancer.control), the interfaces that the
configuration names must exist as well.

Exit status: 0 the configuration is valid (there may be warnings), 78 it has errors.

Examples:
  lb ctl check-config
  lb ctl check-config ./lb.toml && systemctl reload lb-balance`

const exampleConfigHelp = `Examples:
  lb ctl example-config >/etc/lb/lb.toml`

const importHelp = `Examples:
  lb ctl import litmus /etc/litmus.conf
  lb ctl import bigbrother /etc/big_brother.conf --vip webapp=203.0.113.7:443`

const importLitmusHelp = `Ruby files are parsed for services and settings and never executed. What cannot be converted, or
works differently in lb, is reported on standard error with file and line, and as a comment in
the result. The result is checked as by check-config.

Examples:
  lb ctl import litmus /etc/litmus.conf
  lb ctl import litmus /etc/litmus.conf -o /etc/lb/lb.toml
  lb ctl import litmus /etc/litmus.d/*.yaml >lb.toml`

const importBigBrotherHelp = `big_brother's configuration does not name the virtual IPs of a mark. A cluster for which neither
--vip nor --iptables names them gets an example as a comment, and the exit status is 78. What
cannot be converted, or works differently in lb, is reported on standard error with file and
line, and as a comment in the result. The result is checked as by check-config.

Examples:
  lb ctl import bigbrother /etc/big_brother.conf --vip webapp=203.0.113.7:443
  lb ctl import bigbrother big_brother.yml --vip webapp=203.0.113.7:80,443@eth1 --vip dns=203.0.113.8:53/udp
  iptables-save >rules && lb ctl import bigbrother big_brother.yml --iptables rules -o lb.toml`

const pacemakerHelp = `Prints the configuration and changes nothing. Loading it a second time changes nothing. Clusters
that share a virtual IP share one group. Run this command on a load balancer: a path given with
-c becomes the resources' parameter config.

Examples:
  lb ctl pacemaker | crm configure load update -
  lb ctl pacemaker webapp | crm configure load update -
  lb ctl pacemaker --as pcs | sh
  lb ctl pacemaker --as xml | cibadmin --modify --allow-create --xml-pipe
  lb ctl pacemaker status`

const pacemakerStatusHelp = `Run this command as root on a load balancer. It reads Pacemaker (crm_mon, cibadmin), lb balance
and the kernel, and changes nothing. A note is something that an operator intended, such as a
machine in standby. A problem needs attention.

Exit status: 0 all agree (there may be notes), 1 there are problems, 77 no privilege to read the
kernel.

Examples:
  lb ctl pacemaker status
  lb ctl pacemaker status webapp
  lb ctl pacemaker status --json
  lb ctl pacemaker status >/dev/null && echo "all agree"`

const doctorHelp = `Changes nothing. docs/runbook.md lists what is examined, docs/rules.md explains the settings. lb
sets them itself with balancer.set_sysctls and agent.tunnel. What could not be examined is
"unknown", and not good.

Exit status: 0 everything is good, 1 something is bad, or unknown for another reason than these:
69 the kernel has no nftables, 77 no privilege to look; 78 the configuration has errors.

Examples:
  lb ctl doctor
  lb ctl doctor --json`

const checkHelp = `For writing a configuration: no agent is needed, and none is contacted. The checks run as you;
under the agent's user, or in its hardened unit, they may give other results. Forced health does
not count.

Exit status: 0 the service would be up, 1 it would be down, 2 the configuration does not have
it.

Examples:
  lb agent check webapp
  lb agent check webapp --json -c ./lb.toml`

const tunnelHelp = `Reads the clusters that have this machine as a node from the configuration, and prints each
step. lb agent does the same at its start if agent.tunnel.enabled = true, and from then on repairs
what other programs change. So before --undo, set enabled = false and reload the agent.

Examples:
  lb agent tunnel
  lb agent tunnel --undo`
