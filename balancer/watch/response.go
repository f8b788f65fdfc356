package watch

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/netx/sanitize"
)

// maxReason bounds a reason sent by an agent, in bytes.
const maxReason = 120

// bodyHealth matches the health in the body of a response without an X-Health header: a line of its own, unlike in big_brother, which
// takes "Measured Health: 90" for the health if it comes first. What follows the number is ignored, as in the header.
var bodyHealth = regexp.MustCompile(`(?m)^Health: (\d+)`)

// parseResponse returns the health that an agent's HTTP response reports, never negative, and the Detail of its reading. It follows
// big_brother: only status 200 counts, the header X-Health precedes a line "Health: N" in the body, and anything else is 0. The
// agent's stream leads to the same words, so that they do not depend on how a node is watched.
func parseResponse(status int, header http.Header, body []byte) (health int, detail string) {
	if status != http.StatusOK {
		if detail := downDetail(body, forceIsMoot(header, body)); detail != "" {
			return 0, detail
		}
		return 0, fmt.Sprintf("agent returned status %d, counted as health 0", status)
	}
	if values, ok := header["X-Health"]; ok && len(values) > 0 {
		n := leadingInteger(values[0])
		if strconv.Itoa(n) == values[0] {
			return n, "agent reported health " + values[0]
		}
		return n, fmt.Sprintf("agent sent X-Health %.40q, read as %d", values[0], n)
	}
	if m := bodyHealth.FindSubmatch(body); m != nil {
		return leadingInteger(string(m[1])), fmt.Sprintf("agent sent %.40q in the body", m[0])
	}
	return 0, "agent sent no health (status 200), counted as 0"
}

// measuredZero matches a status page whose measured health is 0.
var measuredZero = regexp.MustCompile(`(?m)^Measured Health: 0\s*$`)

// forceIsMoot reports whether the force on a status page has no effect.
func forceIsMoot(header http.Header, body []byte) bool {
	return ceilingIsMoot(header.Get("X-Health-Forced"), measuredZero.Match(body))
}

// ceilingIsMoot reports whether a force has no effect because it is a ceiling (kind "health") and the measured health is 0 anyway.
func ceilingIsMoot(kind string, measuredZero bool) bool { return kind == "health" && measuredZero }

// downDetail returns why an agent's status page is down: a force, unless it is moot, else the first failing dependency. It returns
// "" if the page contains no reason.
func downDetail(body []byte, forceIsMoot bool) string {
	detail := ""
	for line := range strings.Lines(string(body)) {
		line = strings.TrimSpace(line)
		if reason, ok := strings.CutPrefix(line, "Forced Reason: "); ok && !forceIsMoot {
			return forcedDetail(reason)
		}
		if check, ok := strings.CutSuffix(line, ": FAIL"); ok && detail == "" {
			detail = reasonDetail(check + " failed")
		}
	}
	return detail
}

func forcedDetail(reason string) string {
	return strings.TrimSuffix("agent reported health 0, forced: "+sanitize.Line(reason, maxReason), ": ")
}

func reasonDetail(reason string) string {
	return "agent reported health 0: " + sanitize.Line(reason, maxReason)
}

// leadingInteger parses the number at the beginning of s like Ruby's to_i: it allows leading white space, a sign, and single
// underscores between digits, and ignores what follows. It returns 0 without a number and for negative ones, and at most
// decide.MaxWeight+1, so that a number too large for a weight remains visible as such.
func leadingInteger(s string) int {
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	negative := strings.HasPrefix(s, "-")
	if negative || strings.HasPrefix(s, "+") {
		s = s[1:]
	}
	n, digit := 0, false
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= '0' && c <= '9':
			n, digit = min(n*10+int(c-'0'), decide.MaxWeight+1), true
			continue
		case c == '_' && digit:
			digit = false // a second underscore ends the number
			continue
		}
		break
	}
	if negative {
		return 0
	}
	return n
}
