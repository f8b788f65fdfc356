// Package failover tests takeovers between three balancers under a real Corosync and Pacemaker, under load; it needs build tag lab.
package failover
