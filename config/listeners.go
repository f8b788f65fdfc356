package config

import (
	"cmp"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// listener is an address that the agent listens on.
type listener struct {
	d       *decoder
	key     string
	path    string // of the key, even if the file does not have it
	address string
}

// addListener records an address that the agent listens on; "": none.
func (l *loader) addListener(d *decoder, key, address string) {
	if address != "" && !d.failed(key) {
		l.listeners = append(l.listeners, listener{d, key, joinKey(cmp.Or(d.path, "agent"), key), address})
	}
}

// checkListeners reports addresses that conflict with another listener of the agent.
func (l *loader) checkListeners() {
	for i, c := range l.listeners {
		for _, other := range l.listeners[:i] {
			if !c.conflictsWith(other) {
				continue
			}
			if !c.d.has(c.key) {
				c, other = other, c // report the key that the file has
			}
			location := " (the default)"
			if other.d.has(other.key) {
				location = " (" + Diagnostic{File: other.d.doc.name, Line: other.d.line(joinKey(other.d.path, other.key))}.String() + ")"
			}
			c.d.invalid(c.key, "has the same port as "+other.path+location, "give each its own port")
			break
		}
	}
}

// conflictsWith reports whether the two cannot be bound at the same time.
func (c listener) conflictsWith(other listener) bool {
	host, port, _ := cutPort(c.address)
	otherHost, otherPort, _ := cutPort(other.address)
	return port == otherPort && port != "0" && (host == otherHost || isWildcard(host) || isWildcard(otherHost))
}

// isWildcard reports whether a listener on that host accepts connections to every address of the machine.
func isWildcard(host string) bool { return host == "" || host == "0.0.0.0" || host == "::" }

// readListener reads the address of a listener: "host:port", or ":port" for every address of the machine. "" means no listener, if that
// is the default.
func readListener(d *decoder, key, def string) string {
	const fix = `use ":9293", "127.0.0.1:9293" or "[::1]:9293"`
	v := d.str(key, def)
	if v == "" && def == "" {
		return v
	}
	host, port, ok := cutPort(v)
	if !ok {
		d.invalid(key, "is not host:port", fix)
		return v
	}
	n, err := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil:
		d.invalid(key, "has a port outside 1 to 65535", fix)
	case n == 0:
		d.warn(key, "is a random port, another one at each start", "use a fixed port")
	}
	if host != "" && !isHost(host) {
		d.invalid(key, "has a host that is neither an address nor a name", fix)
	}
	return v
}

// cutPort splits "host:port" and "[v6]:port".
func cutPort(s string) (host, port string, ok bool) {
	at := strings.LastIndexByte(s, ':')
	if at < 0 {
		return "", "", false
	}
	host, port = s[:at], s[at+1:]
	if v6, bracket := strings.CutPrefix(host, "["); bracket {
		v6, ok = strings.CutSuffix(v6, "]")
		addr, err := netip.ParseAddr(v6)
		return v6, port, ok && err == nil && addr.Is6()
	}
	return host, port, !strings.Contains(host, ":")
}

// hostName matches a name of DNS or /etc/hosts. Its last label has a letter, so that 10.0.0.300 does not match.
var hostName = regexp.MustCompile(`^([A-Za-z0-9_-]+\.)*[A-Za-z0-9_-]*[A-Za-z][A-Za-z0-9_-]*\.?$`)

func isHost(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil || hostName.MatchString(s)
}
