package demo

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// barWidth is the length of the bar for weight 100.
const barWidth = 25

// screen prints the demo: on a terminal it redraws the table in place, elsewhere it prints plain lines.
type screen struct {
	out        io.Writer
	width      func() int // of the terminal in characters; nil if out is not one
	tableLines int        // lines of the last table, which the next frame overwrites
}

func newScreen(out io.Writer, width func() int) *screen { return &screen{out: out, width: width} }

// line prints a line that stays.
func (s *screen) line(text string) {
	s.tableLines = 0
	fmt.Fprintln(s.out, text)
}

// scene prints the title and introduction of a scene.
func (s *screen) scene(title, intro string) {
	s.line("")
	s.line(s.bold(title))
	s.line("   " + intro)
}

// note prints an event. The next table is drawn below it.
func (s *screen) note(text string) { s.line("   → " + text) }

// frame redraws the table on a terminal. Elsewhere only table prints it.
func (s *screen) frame(v snapshot) {
	if s.width != nil {
		s.draw(v)
	}
}

// table prints a table that stays.
func (s *screen) table(v snapshot) {
	s.draw(v)
	s.tableLines = 0
}

func (s *screen) draw(v snapshot) {
	var b bytes.Buffer
	if s.tableLines > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", s.tableLines)
	}
	rows := s.rows(v)
	for _, row := range rows {
		if s.width != nil { // a wrapped row would misplace the next frame
			row = "\x1b[2K" + truncate(row, s.width())
		}
		b.WriteString(row + "\n")
	}
	s.tableLines = len(rows)
	_, _ = s.out.Write(b.Bytes()) // a lost reader ends the process by SIGPIPE
}

func (s *screen) rows(v snapshot) []string {
	state := "is up"
	if !v.balancerUp {
		state = "is down"
	}
	rows := []string{
		fmt.Sprintf("   %3.0f s   204.109.13.7:443 → mark 7 → wrr   %d requests answered, %d lost   lb balance %s",
			v.elapsed.Seconds(), v.counts.Answered, v.counts.Failed, state),
		fmt.Sprintf("   %-6s %6s %6s  %-*s %6s %6s  %s", "node", "health", "weight", barWidth, "", "share", "active", "why"),
	}
	for _, n := range v.nodes {
		weight, bar := "-", ""
		if n.inTable {
			weight, bar = fmt.Sprint(n.weight), strings.Repeat("█", (n.weight*barWidth+99)/100)
		}
		rows = append(rows, fmt.Sprintf("   %-6s %6s %6s  %-*s %5.0f%% %6d  %s",
			n.name, n.health, weight, barWidth, bar, 100*n.share, n.connections, n.why))
	}
	return rows
}

func (s *screen) bold(text string) string {
	if s.width == nil {
		return text
	}
	return "\x1b[1m" + text + "\x1b[0m"
}

// truncate shortens a row to a width in characters.
func truncate(row string, width int) string {
	runes := []rune(row)
	if width <= 0 || len(runes) <= width {
		return row
	}
	return string(runes[:width-1]) + "…"
}
