package config

import (
	"net/netip"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// socketPathMax is the longest path of a Unix socket in Linux: sun_path of unix(7), less its final zero byte.
const socketPathMax = 107

// agent reads [agent].
func (l *loader) agent(d *decoder) Agent {
	a := Agent{
		Listen:     l.listen(d, "listen", defaultAgentListen),
		AgentCheck: l.listen(d, "agent_check", defaultAgentCheck),
		Control:    control(d, defaultAgentControl),
		DataDir:    absolute(d, "data_dir", defaultDataDir),
		Access:     access(d),
		Tunnel:     Tunnel{Enabled: defaultTunnelEnabled},
	}
	if t, ok := d.table("tunnel"); ok {
		a.Tunnel.Enabled = t.boolean("enabled", defaultTunnelEnabled)
		t.done()
	}
	l.bind(d, "listen", a.Listen)
	l.bind(d, "agent_check", a.AgentCheck)
	d.done()
	return a
}

// balancer reads [balancer].
func (l *loader) balancer(d *decoder) Balancer {
	b := Balancer{
		Listen:      l.listen(d, "listen", defaultBalancerListen),
		Control:     control(d, defaultBalancerControl),
		Access:      access(d),
		DataDir:     absolute(d, "data_dir", defaultBalancerDataDir),
		OverrideDir: absolute(d, "override_dir", defaultOverrideDir),
		SetSysctls:  d.boolean("set_sysctls", defaultSetSysctls),
		Sync:        sync(d),
		Location:    location(d, "location"), RelayAddress: relayAddress(d),
	}
	d.done()
	return b
}

// listen reads the address of a listener: "host:port", where no host is every address of the machine. A listener whose
// default is none may be given as none, too.
func (l *loader) listen(d *decoder, key, def string) string {
	const fix = `write it as ":9293", "127.0.0.1:9293" or "[::1]:9293"`
	v := d.str(key, def)
	if v == "" && def == "" {
		return v
	}
	host, port, ok := cutPort(v)
	if !ok {
		d.mistake(key, "is not host:port", fix)
		return v
	}
	n, err := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil:
		d.mistake(key, "the port must be 1 to 65535", fix)
	case n == 0:
		l.warn(d, key, "port 0 is a different port at every start", "write the port that others are to find")
	}
	if host != "" && !isHost(host) {
		d.mistake(key, "the host is neither an address nor a name", fix)
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

// hostName is a name of DNS or of /etc/hosts. Its last label has a letter, so that 10.0.0.300 is none.
var hostName = regexp.MustCompile(`^([A-Za-z0-9_-]+\.)*[A-Za-z0-9_-]*[A-Za-z][A-Za-z0-9_-]*\.?$`)

func isHost(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil || hostName.MatchString(s)
}

// control reads the path of a Unix socket.
func control(d *decoder, def string) string {
	v := absolute(d, "control", def)
	if len(v) > socketPathMax {
		d.mistake("control", "is longer than the "+strconv.Itoa(socketPathMax)+" bytes that Linux gives a socket's path",
			"choose a shorter path")
	}
	return v
}

// absolute reads a path that does not depend on where lb was started.
func absolute(d *decoder, key, def string) string {
	v := d.str(key, def)
	if !filepath.IsAbs(v) || strings.ContainsRune(v, 0) {
		d.mistake(key, "is not an absolute path", "begin it with /")
	}
	return v
}
