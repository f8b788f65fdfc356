package fastpath

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// userAgent is the start of a request up to the value of its last field.
const userAgent = "GET /web/status HTTP/1.1\r\nHost: app01\r\nUser-Agent: "

// requests are sent by clients, common ones and unusual ones. Each is sent alone, after a plain one and before one.
var requests = map[string]string{
	"plain":           "GET /web/status HTTP/1.1\r\nHost: app01\r\n\r\n",
	"another page":    "GET /down/status HTTP/1.1\r\nHost: app01\r\n\r\n",
	"an empty page":   "GET /empty/status HTTP/1.1\r\nHost: app01\r\n\r\n",
	"a large page":    "GET /large/status HTTP/1.1\r\nHost: app01\r\n\r\n",
	"an unknown page": "GET /nope/status HTTP/1.1\r\nHost: app01\r\n\r\n",
	"the root":        "GET / HTTP/1.1\r\nHost: app01\r\n\r\n",
	"as curl":         "GET /web/status HTTP/1.1\r\nHost: app01:9293\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n",
	"as Go": "GET /web/status HTTP/1.1\r\nHost: app01\r\nUser-Agent: Go-http-client/1.1\r\n" +
		"Accept-Encoding: gzip\r\n\r\n",
	"as Ruby": "GET /web/status HTTP/1.1\r\nAccept-Encoding: gzip;q=1.0,deflate;q=0.6,identity;q=0.3\r\n" +
		"Accept: */*\r\nUser-Agent: Ruby\r\nConnection: close\r\nHost: app01\r\n\r\n",
	"as check_http": "GET /web/status HTTP/1.1\r\nUser-Agent: check_http/v2.3.3 (monitoring-plugins 2.3.3)\r\n" +
		"Connection: close\r\nHost: \r\n\r\n",
	"as a browser": "GET /web/status HTTP/1.1\r\nHost: [::1]:9293\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n" +
		"Accept: text/html,*/*;q=0.8\r\nAccept-Language: de,en;q=0.5\r\n\r\n",
	"as a balancer":           "GET /web/status HTTP/1.1\r\nHost: app01\r\nUser-Agent: lb\r\nAccept: text/plain, */*\r\n\r\n",
	"HTTP/1.0":                "GET /web/status HTTP/1.0\r\n\r\n",
	"HTTP/1.0 with a host":    "GET /web/status HTTP/1.0\r\nHost: app01\r\nUser-Agent: KeepAliveClient\r\n\r\n",
	"HTTP/1.0 with two hosts": "GET /web/status HTTP/1.0\r\nHost: app01\r\nHost: app02\r\n\r\n",
	"HTTP/1.0 keep-alive":     "GET /web/status HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
	"HTTP/1.0 Keep-Alive":     "GET /web/status HTTP/1.0\r\nCONNECTION: Keep-Alive\r\n\r\n",
	"HTTP/1.0 close":          "GET /web/status HTTP/1.0\r\nConnection: close\r\n\r\n",
	"HTTP/0.9":                "GET /web/status\r\n\r\n",
	"HTTP/1.2":                "GET /web/status HTTP/1.2\r\nHost: app01\r\n\r\n",
	"HTTP/2.0":                "GET /web/status HTTP/2.0\r\nHost: app01\r\n\r\n",
	"HTTP/11":                 "GET /web/status HTTP/11\r\nHost: app01\r\n\r\n",
	"version in lower case":   "GET /web/status http/1.1\r\nHost: app01\r\n\r\n",
	"HTTP/2 preface":          "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	"keep-alive":              "GET /web/status HTTP/1.1\r\nHost: app01\r\nConnection: keep-alive\r\n\r\n",
	"close":                   "GET /web/status HTTP/1.1\r\nHost: app01\r\nConnection: close\r\n\r\n",
	"close, in upper case":    "GET /web/status HTTP/1.1\r\nHOST: app01\r\nCONNECTION: CLOSE\r\n\r\n",
	"close and keep-alive":    "GET /web/status HTTP/1.1\r\nHost: app01\r\nConnection: close, keep-alive\r\n\r\n",
	"close, then keep-alive":  "GET /web/status HTTP/1.1\r\nHost: app01\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n",
	"close twice":             "GET /web/status HTTP/1.1\r\nHost: app01\r\nConnection: close\r\nConnection: close\r\n\r\n",
	"close with a tab":        "GET /web/status HTTP/1.1\r\nHost: app01\r\nConnection:\tclose\t\r\n\r\n",
	"an empty Connection":     "GET /web/status HTTP/1.1\r\nHost: app01\r\nConnection:\r\n\r\n",
	"an upgrade":              "GET /web/status HTTP/1.1\r\nHost: app01\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
	"JSON":                    "GET /web/status HTTP/1.1\r\nHost: app01\r\nAccept: application/json\r\n\r\n",
	"JSON in a second header": "GET /web/status HTTP/1.1\r\nHost: app01\r\nAccept: text/plain\r\n" +
		"Accept: text/html, APPLICATION/JSON;q=0.1\r\n\r\n",
	"JSON refused":              "GET /web/status HTTP/1.1\r\nHost: app01\r\nAccept: application/json;q=0\r\n\r\n",
	"HEAD":                      "HEAD /web/status HTTP/1.1\r\nHost: app01\r\n\r\n",
	"POST":                      "POST /web/status HTTP/1.1\r\nHost: app01\r\nContent-Length: 3\r\n\r\na=b",
	"method in lower case":      "get /web/status HTTP/1.1\r\nHost: app01\r\n\r\n",
	"no method":                 " /web/status HTTP/1.1\r\nHost: app01\r\n\r\n",
	"a longer method":           "GETS /web/status HTTP/1.1\r\nHost: app01\r\n\r\n",
	"two slashes":               "GET //web/status HTTP/1.1\r\nHost: app01\r\n\r\n",
	"a slash at the end":        "GET /web/status/ HTTP/1.1\r\nHost: app01\r\n\r\n",
	"dots":                      "GET /web/../web/status HTTP/1.1\r\nHost: app01\r\n\r\n",
	"a query":                   "GET /web/status?x=1 HTTP/1.1\r\nHost: app01\r\n\r\n",
	"an empty query":            "GET /web/status? HTTP/1.1\r\nHost: app01\r\n\r\n",
	"a fragment":                "GET /web/status#x HTTP/1.1\r\nHost: app01\r\n\r\n",
	"an escaped letter":         "GET /%77eb/status HTTP/1.1\r\nHost: app01\r\n\r\n",
	"an escaped slash":          "GET /web%2Fstatus HTTP/1.1\r\nHost: app01\r\n\r\n",
	"half an escape":            "GET /web/status%2 HTTP/1.1\r\nHost: app01\r\n\r\n",
	"not ASCII":                 "GET /w\xc3\xa9b/status HTTP/1.1\r\nHost: app01\r\n\r\n",
	"a zero byte":               "GET /web/status\x00 HTTP/1.1\r\nHost: app01\r\n\r\n",
	"an absolute URL":           "GET http://app01/web/status HTTP/1.1\r\nHost: app02\r\n\r\n",
	"a path without a slash":    "GET web/status HTTP/1.1\r\nHost: app01\r\n\r\n",
	"an asterisk":               "GET * HTTP/1.1\r\nHost: app01\r\n\r\n",
	"two spaces":                "GET  /web/status  HTTP/1.1\r\nHost: app01\r\n\r\n",
	"a space after the version": "GET /web/status HTTP/1.1 \r\nHost: app01\r\n\r\n",
	"a tab":                     "GET\t/web/status\tHTTP/1.1\r\nHost: app01\r\n\r\n",
	"no host":                   "GET /web/status HTTP/1.1\r\n\r\n",
	"two hosts":                 "GET /web/status HTTP/1.1\r\nHost: app01\r\nHost: app01\r\n\r\n",
	"a bad host":                "GET /web/status HTTP/1.1\r\nHost: app 01\r\n\r\n",
	"an unusual host":           "GET /web/status HTTP/1.1\r\nHost: user@app01/x\r\n\r\n",
	"a body":                    "GET /web/status HTTP/1.1\r\nHost: app01\r\nContent-Length: 3\r\n\r\nabc",
	"an empty body":             "GET /web/status HTTP/1.1\r\nHost: app01\r\nContent-Length: 0\r\n\r\n",
	"a bad length":              "GET /web/status HTTP/1.1\r\nHost: app01\r\nContent-Length: -1\r\n\r\n",
	"two lengths":               "GET /web/status HTTP/1.1\r\nHost: app01\r\nContent-Length: 0\r\nContent-Length: 3\r\n\r\nabc",
	"chunks":                    "GET /web/status HTTP/1.1\r\nHost: app01\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
	"half a chunk":              "GET /nope/status HTTP/1.1\r\nHost: app01\r\nTransfer-Encoding: chunked\r\n\r\n801\r\nabc",
	"chunks and a length": "GET /web/status HTTP/1.1\r\nHost: app01\r\nContent-Length: 4\r\n" +
		"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"an unknown coding":        "GET /web/status HTTP/1.1\r\nHost: app01\r\nTransfer-Encoding: br\r\n\r\n",
	"an expectation":           "GET /web/status HTTP/1.1\r\nHost: app01\r\nExpect: 100-continue\r\n\r\n",
	"an unknown expectation":   "GET /web/status HTTP/1.1\r\nHost: app01\r\nExpect: more\r\n\r\n",
	"a token":                  "GET /web/status HTTP/1.1\r\nHost: app01\r\nAuthorization: Bearer x\r\n\r\n",
	"an unknown field":         "GET /web/status HTTP/1.1\r\nHost: app01\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n",
	"a field with two colons":  "GET /web/status HTTP/1.1\r\nHost: app01\r\nUser-Agent: a:b\r\n\r\n",
	"a space before the colon": "GET /web/status HTTP/1.1\r\nHost : app01\r\n\r\n",
	"no colon":                 "GET /web/status HTTP/1.1\r\nHost: app01\r\nUser-Agent\r\n\r\n",
	"no name":                  "GET /web/status HTTP/1.1\r\nHost: app01\r\n: x\r\n\r\n",
	"a long s":                 "GET /web/status HTTP/1.1\r\nHo\u017ft: app01\r\n\r\n",
	"a folded field":           "GET /web/status HTTP/1.1\r\nHost: app01\r\nAccept: text/plain,\r\n application/json\r\n\r\n",
	"a folded connection":      "GET /web/status HTTP/1.1\r\nHost: app01\r\nConnection:\r\n close\r\n\r\n",
	"a space before a field":   "GET /web/status HTTP/1.1\r\n Host: app01\r\n\r\n",
	"a bell":                   "GET /web/status HTTP/1.1\r\nHost: app01\r\nUser-Agent: \a\r\n\r\n",
	"a byte over 127":          "GET /web/status HTTP/1.1\r\nHost: app01\r\nUser-Agent: \xe9\r\n\r\n",
	"line feeds only":          "GET /web/status HTTP/1.1\nHost: app01\n\n",
	"one line feed only":       "GET /web/status HTTP/1.1\r\nHost: app01\nConnection: close\r\n\r\n",
	"line feed at the end":     "GET /web/status HTTP/1.1\r\nHost: app01\r\n\n",
	"a carriage return only":   "GET /web/status HTTP/1.1\r\nHost: app01\rConnection: close\r\n\r\n",
	"two carriage returns":     "GET /web/status HTTP/1.1\r\r\nHost: app01\r\r\n\r\r\n",
	"an empty line before it":  "\r\nGET /web/status HTTP/1.1\r\nHost: app01\r\n\r\n",
	"no empty line":            "GET /web/status HTTP/1.1\r\nHost: app01\r\n",
	"only the method":          "GET ",
	"a TLS hello":              "\x16\x03\x01\x02\x00\x01",
	"nothing":                  "",
	"junk":                     "\x00\xff\r\n\r\n",
	"a long field":             userAgent + strings.Repeat("x", readSize) + "\r\n\r\n",
	"a field that just fits":   userAgent + strings.Repeat("x", readSize-len(userAgent+"\r\n\r\n")) + "\r\n\r\n",
	"a huge field":             userAgent + strings.Repeat("x", 40<<10) + "\r\n\r\n",
	"twenty at once":           strings.Repeat("GET /web/status HTTP/1.1\r\nHost: app01\r\n\r\n", 20),
	"a hundred at once":        strings.Repeat("GET /web/status HTTP/1.1\r\nHost: app01\r\n\r\n", 100),
}

const (
	plainRequest = "GET /down/status HTTP/1.1\r\nHost: app01\r\n\r\n"
	lastRequest  = "GET /empty/status HTTP/1.1\r\nHost: app01\r\nConnection: close\r\n\r\n"
)

// compare fails if a client can tell a server with the fast path from one without.
func compare(t *testing.T, pieces []string, pause time.Duration) {
	t.Helper()
	compareWithin(t, pieces, pause, 0)
}

// compareWithin is compare, but the fast path may close the connection early by the given time.
func compareWithin(t *testing.T, pieces []string, pause, early time.Duration) {
	t.Helper()
	plain, fast := both(t, pieces, pause)
	if diff := cmp.Diff(plain.answers, fast.answers); diff != "" {
		t.Errorf("%q: answers (-net/http +fast path):\n%s", pieces, diff)
	}
	if late := fast.took - plain.took; late < -early || late > slack {
		t.Errorf("%q: closed after %s, with net/http alone after %s", pieces, fast.took, plain.took)
	}
}

func TestTheFastPathBehavesLikeNetHTTP(t *testing.T) {
	for name, request := range requests {
		t.Run(name, func(t *testing.T) {
			for _, pieces := range [][]string{
				{request}, {request + lastRequest}, {request, lastRequest}, {plainRequest + request},
				{plainRequest, request}, {plainRequest + plainRequest, request + lastRequest},
			} {
				compare(t, pieces, 0)
			}
		})
	}
}

func TestRequestsMayArriveInPieces(t *testing.T) {
	for _, name := range []string{"plain", "as Ruby", "HTTP/1.0", "JSON", "a body", "line feeds only", "a folded connection"} {
		t.Run(name, func(t *testing.T) {
			request := plainRequest + requests[name]
			for at := 1; at < len(request); at++ {
				compare(t, []string{request[:at], request[at:]}, time.Second)
			}
			compare(t, strings.Split(request, ""), time.Millisecond)
		})
	}
}

func TestSlowClientsAreCutOff(t *testing.T) {
	for name, tt := range map[string]struct {
		pieces []string
		pause  time.Duration
		early  time.Duration // net/http starts its timeout at the fourth byte of a further request, the fast path at the first
	}{
		"sends nothing":          {nil, 0, 0},
		"slow header":            {strings.Split(requests["plain"], ""), time.Second, 0},
		"slow second header":     {append([]string{plainRequest}, strings.Split(requests["plain"], "")...), time.Second, 3 * time.Second},
		"one byte, then nothing": {[]string{"G"}, time.Second, 0},
		"requests in time":       {[]string{plainRequest, plainRequest, lastRequest}, testIdle - time.Second, 0},
		"requests too late":      {[]string{plainRequest, lastRequest}, testIdle + 2*slack, 0},
		"one request and a half": {[]string{plainRequest, "GET /"}, 2 * time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) { compareWithin(t, tt.pieces, tt.pause, tt.early) })
	}
}

func FuzzTheFastPathBehavesLikeNetHTTP(f *testing.F) {
	for _, request := range requests {
		f.Add(request, 7)
	}
	f.Fuzz(func(t *testing.T, request string, at int) {
		at = max(0, min(at, len(request)))
		compare(t, []string{request[:at], request[at:] + lastRequest}, 0)
	})
}
