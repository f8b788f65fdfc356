package config

import "strings"

// maxInterfaceName is the maximum length of an interface's name: IFNAMSIZ without the final zero byte.
const maxInterfaceName = 15

// isInterface reports whether the kernel accepts s as the name of an interface. It takes the byte 0xA0 for a space, also as a part of a
// letter such as à (dev_valid_name and isspace in Linux).
func isInterface(s string) bool {
	return s != "" && len(s) <= maxInterfaceName && !strings.ContainsAny(s, "/: \t\n\v\f\r\x00") && strings.IndexByte(s, 0xA0) < 0 &&
		s != "." && s != ".."
}

// interfaceName reads the name of a network interface, or the default, which means none.
func interfaceName(d *decoder, key, def string) string {
	v := d.str(key, def)
	if !isInterface(v) && v != def {
		d.invalid(key, "is not a valid interface name", "use a name from `ip link`, such as eth0")
	}
	return v
}
