package config

import "cmp"

// binding is an address that the agent is to listen on.
type binding struct {
	d       *decoder
	key     string
	path    string // of the key, also where nobody wrote it
	address string
}

// bind remembers an address that the agent is to listen on; "" is none.
func (l *loader) bind(d *decoder, key, address string) {
	if address != "" && !d.faulty(key) {
		l.bindings = append(l.bindings, binding{d, key, joinKey(cmp.Or(d.path, "agent"), key), address})
	}
}

// judgeBindings reports the addresses that cannot be listened on because another one of the agent takes them.
func (l *loader) judgeBindings() {
	for i, c := range l.bindings {
		for _, other := range l.bindings[:i] {
			if !c.takes(other) {
				continue
			}
			if !c.d.has(c.key) {
				c, other = other, c // the mistake is where somebody wrote something
			}
			place := " (the default)"
			if other.d.has(other.key) {
				place = " (" + Mistake{File: other.d.doc.name, Line: other.d.line(joinKey(other.d.path, other.key))}.String() + ")"
			}
			c.d.mistake(c.key, "is the port of "+other.path+place+", too", "give each its own port")
			break
		}
	}
}

// takes tells whether both cannot be bound at one time.
func (c binding) takes(other binding) bool {
	host, port, _ := cutPort(c.address)
	otherHost, otherPort, _ := cutPort(other.address)
	return port == otherPort && port != "0" && (host == otherHost || everyAddress(host) || everyAddress(otherHost))
}

// everyAddress tells whether a listener on that host is on every address of the machine.
func everyAddress(host string) bool { return host == "" || host == "0.0.0.0" || host == "::" }
