package server

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/braintree/lb/agent/score"
	"github.com/braintree/lb/agent/service"
)

// statusText is the body of GET /SERVICE/status. Programs read it, so each line is as in litmus_paper 1.6.2.
// Balancers poll it every other second, so it is built without fmt.
func statusText(v service.View, now time.Time) []byte {
	size := len("Health: 100\nMeasured Health: 100\n") // lines about a force or the tunnel make it grow
	for _, d := range v.Depends {
		size += len(d.Label()) + len(": FAIL\n")
	}
	for _, m := range v.Metrics {
		size += len(m.Label()) + len(": 100\n")
	}
	b := make([]byte, 0, size)
	line := func(key, value string) {
		b = append(b, key...)
		b = append(b, ": "...)
		b = append(b, value...)
		b = append(b, '\n')
	}
	line("Health", strconv.Itoa(v.Health))
	line("Measured Health", strconv.Itoa(v.Measured))
	if f := v.Forced; f != nil {
		reason := f.Reason
		if f.Kind == score.Health {
			reason += " " + strconv.Itoa(f.Value)
		}
		line("Forced Reason", reason)
		if !f.Expires.IsZero() { // an addition to litmus_paper, which has no expiring forces
			line("Forced Until", f.Expires.Format(time.RFC3339))
		}
	}
	if v.Fault != "" { // litmus_paper has no tunnel: it is like a dependency
		line(tunnelLabel(v), "FAIL")
	}
	for _, d := range v.Depends {
		line(d.Label(), okOrFail(d, now))
	}
	for _, m := range v.Metrics {
		line(m.Label(), strconv.Itoa(m.Points(now)))
	}
	return b
}

// metricsText is the body of GET /SERVICE/metrics: NAME{service="S"} VALUE MILLISECONDS.
func metricsText(v service.View) string {
	var b strings.Builder
	for _, m := range v.Metrics {
		if m.Result == nil {
			continue
		}
		for _, s := range m.Result.Samples {
			fmt.Fprintf(&b, "%s{service=%q} %s %d\n", s.Name, v.Name, strconv.FormatFloat(s.Value, 'g', -1, 64), m.At.UnixMilli())
		}
	}
	return b.String()
}

// Terminal colours of litmus_paper's table.
const (
	red    = 31
	green  = 32
	yellow = 33

	greenFrom = 80 // minimum health shown in green
)

// tableText is the body of GET /, the table of litmusctl list.
func tableText(version string, views []service.View) string {
	width := len("Service")
	for _, v := range views {
		width = max(width, len(v.Name))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "lb %s\n\n", version)
	fmt.Fprintf(&b, " %-*s │ Reported │ Measured │ Health\n", width, "Service")
	fmt.Fprintf(&b, " %-*s │ Health   │ Health   │ Forced?\n", width, "Name")
	rule := strings.Repeat("─", 10)
	fmt.Fprintf(&b, "%s┴%s┴%s┴%s\n", strings.Repeat("─", width+2), rule, rule, strings.Repeat("─", 9))
	for _, v := range views {
		fmt.Fprintf(&b, " %-*s   \x1b[0;%d;49m  %3d   \x1b[0m     %3d      %s\n", width, v.Name, colour(v.Health), v.Health,
			v.Measured, forcedText(v))
	}
	return b.String()
}

func colour(health int) int {
	switch {
	case health == 0:
		return red
	case health < greenFrom:
		return yellow
	}
	return green
}

// forcedText is the column Forced?.
func forcedText(v service.View) string {
	if v.Forced == nil {
		return "No"
	}
	text := "Yes,"
	if v.Forced.Kind == score.Health {
		text += fmt.Sprintf(" Health: %d", v.Forced.Value)
	}
	text += " Reason: " + v.Forced.Reason
	if !v.Forced.Expires.IsZero() {
		text += " Until: " + v.Forced.Expires.Format(time.RFC3339)
	}
	return text
}

// okOrFail is the state of a dependency on the status page.
func okOrFail(d service.Check, now time.Time) string {
	if d.Passing(now) {
		return "OK"
	}
	return "FAIL"
}
