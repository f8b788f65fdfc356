// Package netx defines the errors shared by the packages that talk to the kernel's network stack.
package netx

import "errors"

var (
	// ErrNoIPVS means that the running kernel has no IPVS and cannot load it.
	ErrNoIPVS = errors.New("this kernel has no IPVS: load it with `modprobe ip_vs`, or run on a kernel built with CONFIG_IP_VS")
	// ErrNoPrivilege means that the process lacks CAP_NET_ADMIN in its network namespace.
	ErrNoPrivilege = errors.New("no privilege to change the kernel's network: run as root or with CAP_NET_ADMIN")
)
