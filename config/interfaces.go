package config

import "strings"

// maxInterfaceName is the maximum length of an interface's name: IFNAMSIZ without the final zero byte.
const maxInterfaceName = 15

// isInterface reports whether the kernel accepts s as the name of an interface.
func isInterface(s string) bool {
	return s != "" && len(s) <= maxInterfaceName && !strings.ContainsAny(s, "/: \t\n\x00") && s != "." && s != ".."
}

// interfaceName reads the name of a network interface, or the default, which means none.
func interfaceName(d *decoder, key, def string) string {
	v := d.str(key, def)
	if !isInterface(v) && v != def {
		d.invalid(key, "is not a valid interface name", "use a name from `ip link`, such as eth0")
	}
	return v
}
