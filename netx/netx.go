// Package netx names what all that touches the kernel's network has in common: the errors that say why it cannot.
package netx

import "errors"

var (
	// ErrNoIPVS says that the running kernel has no IPVS and cannot load it.
	ErrNoIPVS = errors.New("this kernel has no IPVS: load it with `modprobe ip_vs`, or run on a kernel built with CONFIG_IP_VS")
	// ErrNoPrivilege says that the process lacks CAP_NET_ADMIN in its network namespace.
	ErrNoPrivilege = errors.New("no privilege to change the kernel's network: run as root or with CAP_NET_ADMIN")
)
