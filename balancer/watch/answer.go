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

// causeLength is how much of an agent's own words is kept, in bytes.
const causeLength = 120

// bodyHealth finds the health in a body, where the answer has no X-Health header, as big_brother does.
var bodyHealth = regexp.MustCompile(`Health: (\d+)`)

// health reads an agent's HTTP answer by big_brother's rule: only status 200 counts, the header X-Health comes before
// "Health: N" in the body, and all else is 0. The words are those of the agent's stream where that has the same to tell, so that a node's reason does not change with the
// way it is watched. It is never negative.
func health(status int, header http.Header, body []byte) (int, string) {
	if status != http.StatusOK {
		if cause := downBecause(body, idle(header, body)); cause != "" {
			return 0, cause
		}
		return 0, fmt.Sprintf("status %d, which is health 0", status)
	}
	if values, given := header["X-Health"]; given && len(values) > 0 {
		n := leadingInteger(values[0])
		if strconv.Itoa(n) == values[0] {
			return n, "health " + values[0]
		}
		return n, fmt.Sprintf("X-Health %.40q, which is %d", values[0], n)
	}
	if m := bodyHealth.FindSubmatch(body); m != nil {
		return leadingInteger(string(m[1])), fmt.Sprintf("%.40q in the body", m[0])
	}
	return 0, "status 200 without a health, which is health 0"
}

// measuredNothing finds that a service is down by what is measured.
var measuredNothing = regexp.MustCompile(`(?m)^Measured Health: 0\s*$`)

// idle tells whether the force that an agent's page tells of has no part in the health: one to a health is a ceiling, and here 0 is measured.
func idle(header http.Header, body []byte) bool {
	return idleForce(header.Get("X-Health-Forced"), measuredNothing.Match(body))
}

func idleForce(kind string, measuredNothing bool) bool { return kind == "health" && measuredNothing }

// downBecause finds in an agent's page why it is down: what an operator gave as reason for a force, where that is not idle, else the first dependency that
// fails. "" when the page does not say.
func downBecause(body []byte, idle bool) string {
	cause := ""
	for line := range strings.Lines(string(body)) {
		line = strings.TrimSpace(line)
		if reason, given := strings.CutPrefix(line, "Forced Reason: "); given && !idle {
			return sanitize.Line("forced: "+reason, causeLength)
		}
		if check, fails := strings.CutSuffix(line, ": FAIL"); fails && cause == "" {
			cause = sanitize.Line(check+" fails", causeLength)
		}
	}
	return cause
}

// leadingInteger reads the number that a text begins with, as Ruby's to_i does: space before it, a sign and single
// underscores between digits are fine, what follows is ignored, no number is 0. Below 0 is 0; anything too big for a weight is one more
// than the biggest, so that it shows as too big.
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
			digit = false // a second one ends the number
			continue
		}
		break
	}
	if negative {
		return 0
	}
	return n
}
