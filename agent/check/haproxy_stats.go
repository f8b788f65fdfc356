package check

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/sanitize"
)

const (
	// maxStats is the maximum size of HAProxy's statistics, in bytes: some 50 000 servers. They are read row
	// by row and not kept.
	maxStats = 32 << 20
	// maxSocketPath is the kernel's limit for the path of a Unix socket, in bytes.
	maxSocketPath = 107
)

// backendName is what HAProxy allows as the name of a proxy.
var backendName = regexp.MustCompile(`^[A-Za-z0-9_.:-]+$`)

// haproxyStats is where to read the state of backends.
type haproxyStats struct {
	socket   string // path of the stats socket; level user is enough
	backends []string
	timeout  time.Duration
}

// haproxyRow is one line of HAProxy's statistics: a server or a whole backend.
type haproxyRow struct {
	backend string
	server  string // "BACKEND" is the whole backend
	status  string // UP, "UP 1/3", DOWN, MAINT, "MAINT (via a/b)", NOLB, DRAIN, "no check"
	weight  int    // of a whole backend: the total of the servers in use
}

// decodeHAProxy reads the common options of the checks on HAProxy.
func decodeHAProxy(c config.Check) haproxyStats {
	o := c.Options
	h := haproxyStats{socket: o.String("socket", ""), backends: o.Strings("backends"), timeout: c.Timeout}
	problem := badPath(h.socket)
	if problem == "" && len(h.socket) > maxSocketPath {
		problem = fmt.Sprintf("exceeds the %d bytes of a socket path", maxSocketPath)
	}
	if problem != "" {
		o.Invalid("socket", problem, `give the path that follows "stats socket" in haproxy.cfg, such as "/run/haproxy/admin.sock"`)
	}
	const fix = `give the names that follow "backend" or "listen" in haproxy.cfg, such as ["webapp"]`
	if !o.Has("backends") {
		o.Invalid("backends", "is missing", fix)
	} else if len(h.backends) == 0 {
		o.Invalid("backends", "is empty", fix)
	}
	for i, name := range h.backends {
		switch {
		case !backendName.MatchString(name):
			o.Invalid("backends", fmt.Sprintf("%q is not a backend name", sanitize.Line(name, 40)), fix)
		case slices.Contains(h.backends[:i], name):
			o.Invalid("backends", fmt.Sprintf("lists %q twice", name), "list each backend once")
		}
	}
	return h
}

// rows queries HAProxy for the rows of the backends and their servers.
func (h haproxyStats) rows(ctx context.Context) ([]haproxyRow, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", h.socket)
	if err != nil {
		return nil, reason(ctx, err, h.timeout)
	}
	defer conn.Close() // nothing is pending, so an error on close loses nothing
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := io.WriteString(conn, "show stat\n"); err != nil {
		return nil, fmt.Errorf("request the statistics: %w", reason(ctx, err, h.timeout))
	}
	rows, err := parseHAProxyStats(io.LimitReader(conn, maxStats), h.backends)
	if err != nil {
		return nil, fmt.Errorf("read the statistics: %w", reason(ctx, err, h.timeout))
	}
	return rows, nil
}

// parseHAProxyStats reads the answer to "show stat" ("CSV format" in HAProxy's management guide) and returns
// the rows of the named backends, without those of frontends and listeners.
func parseHAProxyStats(r io.Reader, backends []string) ([]haproxyRow, error) {
	lines := csv.NewReader(r)
	lines.FieldsPerRecord, lines.LazyQuotes, lines.ReuseRecord = -1, true, true
	header, err := lines.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("HAProxy closed the connection without a response")
	}
	if err != nil {
		return nil, err
	}
	if header[0] != "# pxname" {
		return nil, fmt.Errorf("HAProxy returned %q", sanitize.Line(strings.Join(header, ","), 100))
	}
	name, server := 0, slices.Index(header, "svname")
	status, weight := slices.Index(header, "status"), slices.Index(header, "weight")
	if server < 0 || status < 0 || weight < 0 {
		return nil, errors.New("the column svname, status or weight is missing")
	}
	var rows []haproxyRow
	for {
		f, err := lines.Read()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return nil, err
		}
		// Lines end with a comma, except in some versions.
		if len(f) < len(header)-1 || len(f) <= max(server, status, weight) {
			return nil, errors.New("truncated in the middle of a line")
		}
		if !slices.Contains(backends, f[name]) || f[server] == "FRONTEND" || f[weight] == "" {
			continue
		}
		n, err := strconv.ParseUint(f[weight], 10, 31)
		if err != nil {
			return nil, fmt.Errorf("the weight of %q in %q is %q", f[server], f[name], sanitize.Line(f[weight], 40))
		}
		// Cloned, because the fields are slices of one string, the whole line.
		rows = append(rows, haproxyRow{strings.Clone(f[name]), strings.Clone(f[server]), strings.Clone(f[status]), int(n)})
	}
}

// up reports whether a server or backend takes traffic. "UP 1/3" does, although its check has started to
// fail; a server without a check always does.
func (r haproxyRow) up() bool {
	return r.status == "no check" || firstWord(r.status) == "UP"
}

// takenOut reports whether a server was taken out on purpose: by an operator (MAINT, DRAIN), its agent, or
// itself (NOLB).
func (r haproxyRow) takenOut() bool {
	return slices.Contains([]string{"MAINT", "DRAIN", "NOLB"}, firstWord(r.status))
}

// firstWord is the part before the first space.
func firstWord(s string) string {
	word, _, _ := strings.Cut(s, " ")
	return word
}

// shown lists the backends for the display name.
func (h haproxyStats) shown() string { return strings.Join(h.backends, ", ") }
