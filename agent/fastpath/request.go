package fastpath

import "bytes"

// request is a request for the fast path.
type request struct {
	path   []byte // starts with a slash and needs no unescaping: letters, digits and -._~/
	size   int    // in bytes
	http10 bool   // HTTP/1.0, otherwise HTTP/1.1
	closes bool   // the connection ends after the answer
}

// parse reads the request at the start of b. It returns false if the request is incomplete or not as simple
// as the package comment describes; net/http handles it then, including any errors in it. The accepted syntax
// is a small subset of RFC 9112.
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
		r.http10, r.closes = true, true
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
			ok = connections == 1 && (closes || stays && !r.http10)
		case is(name, "accept"):
			// Without this letter the value cannot have application/json.
			ok = !bytes.ContainsAny(value, "jJ")
		default:
			ok = is(name, "user-agent") || is(name, "accept-encoding") || is(name, "accept-language") || is(name, "cache-control") ||
				is(name, "pragma")
		}
		if !ok {
			return r, false
		}
		rest = rest[length:]
	}
	r.size = len(b) - len(rest) + len("\r\n")
	return r, len(r.path) > 0 && r.path[0] == '/' && (hosts == 1 || r.http10)
}

// field reads the header field at the start of b and the length of its line, 0 if it is incomplete or has
// anything but printable ASCII.
func field(b []byte) (name, value []byte, length int) {
	line, _, whole := bytes.Cut(b, []byte("\r\n"))
	name, value, named := bytes.Cut(line, []byte(":"))
	value = bytes.Trim(value, " \t")
	if !whole || !named || !isPrintable(value) {
		return nil, nil, 0
	}
	return name, value, len(line) + len("\r\n")
}

// is compares b with a word in lower case, ignoring the case of ASCII letters. (bytes.EqualFold treats the
// long s as an s.)
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

// isHost reports whether b has only characters of names, addresses and ports.
func isHost(b []byte) bool {
	for _, c := range b {
		if !alphanumeric(c) && c != '.' && c != '-' && c != '_' && c != ':' && c != '[' && c != ']' {
			return false
		}
	}
	return true
}

// inPath reports whether c is a slash or an unreserved character of RFC 3986.
func inPath(c byte) bool {
	return alphanumeric(c) || c == '/' || c == '-' || c == '.' || c == '_' || c == '~'
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
