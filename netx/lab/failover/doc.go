// Package failover holds the tests of takeovers: three balancers under a real Corosync and Pacemaker, under load, built with the tag lab.
package failover
