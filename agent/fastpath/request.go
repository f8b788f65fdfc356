package fastpath

import "bytes"

// request is a request that is answered here.
type request struct {
	path   []byte // from its slash on, of letters, digits, and -._~/ only, so that it says the same unescaped
	size   int    // bytes that it takes up
	old    bool   // it is HTTP/1.0, else HTTP/1.1
	closes bool   // the connection ends with the answer
}

// parse reads the request that b begins with. It tells false where that is not whole, or differs in anything from what stands in the
// package's comment: it is for net/http then, also to say what is wrong with it. What it takes is a small part of RFC 9112.
func parse(b []byte) (r request, ok bool) {
	const method = "GET "
	if !bytes.HasPrefix(b, []byte(method)) {
		return r, false
	}
	end := len(method)
	for end < len(b) && inPath(b[end]) {
		end++
	}
	r.path = b[len(method):end]
	rest := b[end:]
	switch {
	case bytes.HasPrefix(rest, []byte(" HTTP/1.1\r\n")):
	case bytes.HasPrefix(rest, []byte(" HTTP/1.0\r\n")):
		r.old, r.closes = true, true
	default:
		return r, false
	}
	rest = rest[len(" HTTP/1.1\r\n"):]
	hosts, connections := 0, 0
	for !bytes.HasPrefix(rest, []byte("\r\n")) {
		name, value, length := field(rest)
		switch {
		case length == 0:
			return r, false
		case is(name, "host"):
			hosts++
			ok = hosts == 1 && isHost(value)
		case is(name, "connection"):
			connections++
			closes, stays := is(value, "close"), is(value, "keep-alive")
			r.closes = r.closes || closes
			ok = connections == 1 && (closes || stays && !r.old)
		case is(name, "accept"):
			// Without this letter nobody asks for application/json.
			ok = !bytes.ContainsAny(value, "jJ")
		default:
			ok = is(name, "user-agent") || is(name, "accept-encoding") || is(name, "accept-language") || is(name, "cache-control") || is(name, "pragma")
		}
		if !ok {
			return r, false
		}
		rest = rest[length:]
	}
	r.size = len(b) - len(rest) + len("\r\n")
	return r, len(r.path) > 0 && r.path[0] == '/' && (hosts == 1 || r.old)
}

// field reads the header field that b begins with, and how many bytes its line takes up; 0 where that is not whole, or holds anything but
// printable ASCII.
func field(b []byte) (name, value []byte, length int) {
	line, _, whole := bytes.Cut(b, []byte("\r\n"))
	name, value, named := bytes.Cut(line, []byte(":"))
	value = bytes.Trim(value, " \t")
	if !whole || !named || !isPrintable(value) {
		return nil, nil, 0
	}
	return name, value, len(line) + len("\r\n")
}

// is tells whether b is the word, which is in lower case, in any case of ASCII. (bytes.EqualFold takes the long s for an s.)
func is(b []byte, word string) bool {
	if len(b) != len(word) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != word[i] {
			return false
		}
	}
	return true
}

func isPrintable(b []byte) bool {
	for _, c := range b {
		if (c < ' ' || c > '~') && c != '\t' {
			return false
		}
	}
	return true
}

// isHost tells whether b has only what names, addresses and ports are made of.
func isHost(b []byte) bool {
	for _, c := range b {
		if !alphanumeric(c) && c != '.' && c != '-' && c != '_' && c != ':' && c != '[' && c != ']' {
			return false
		}
	}
	return true
}

// inPath tells the unreserved characters of RFC 3986 and the slash.
func inPath(c byte) bool {
	return alphanumeric(c) || c == '/' || c == '-' || c == '.' || c == '_' || c == '~'
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
