package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/sanitize"
)

// maxAnswer is how much of an answer is searched for the expected text, in bytes.
const maxAnswer = 64 << 10

// tcpOptions are the options of a tcp dependency.
type tcpOptions struct {
	Address string // host:port
	Send    string // sent unchanged after connecting; "" sends nothing
	Expect  string // must occur in the first 64 KiB of the answer; "" reads nothing
	Timeout time.Duration
}

// tcp is a dependency on a port that accepts connections and, if configured, answers as expected.
type tcp struct {
	noFloor
	tcpOptions
}

func newTCP(c config.Check, _ Host) Check {
	o := c.Options
	t := tcp{tcpOptions: tcpOptions{
		Address: o.String("address", ""),
		Send:    o.String("send", ""),
		Expect:  o.String("expect", ""),
		Timeout: c.Timeout,
	}}
	if problem := badAddress(t.Address); problem != "" {
		o.Invalid("address", problem, `give a host and a port, such as "127.0.0.1:6379" or "[::1]:6379"`)
	}
	if o.Has("expect") && t.Expect == "" {
		o.Invalid("expect", "an empty string matches every response", "give the text to look for, or omit expect")
	}
	return t
}

// badAddress says what is wrong with a host:port, "" if it is valid.
func badAddress(address string) string {
	if address == "" {
		return "is missing"
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "is not a host and a port"
	}
	if host == "" {
		return "has no host"
	}
	if strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "has an invalid character in the host"
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return "has a port outside 1 to 65535"
	}
	return ""
}

func (t tcp) Run(ctx context.Context) Result {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", t.Address)
	if err != nil {
		return failed("%v", reason(ctx, err, t.Timeout))
	}
	defer conn.Close() // nothing is pending, so an error on close loses nothing
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if t.Send != "" {
		if _, err := io.WriteString(conn, t.Send); err != nil {
			return failed("send: %v", reason(ctx, err, t.Timeout))
		}
	}
	if t.Expect == "" {
		return passed("connected")
	}
	answer, err := readUntil(conn, []byte(t.Expect), maxAnswer)
	if err != nil {
		if len(answer) == 0 {
			return failed("no response: %v", reason(ctx, err, t.Timeout))
		}
		return failed("expected %q, got %q: %v", t.Expect, sanitize.Line(string(answer), 100), reason(ctx, err, t.Timeout))
	}
	return passed("answered %q", t.Expect)
}

// readUntil reads until it finds want, at most limit bytes, and returns everything it read.
func readUntil(r io.Reader, want []byte, limit int) ([]byte, error) {
	var got []byte
	chunk := make([]byte, 4096)
	for {
		n, err := r.Read(chunk[:min(len(chunk), limit-len(got))])
		from := max(0, len(got)-len(want)+1)
		got = append(got, chunk[:n]...)
		switch {
		case bytes.Contains(got[from:], want):
			return got, nil
		case errors.Is(err, io.EOF):
			return got, errors.New("the peer closed the connection")
		case err != nil:
			return got, err
		case len(got) >= limit:
			return got, fmt.Errorf("not found within %d bytes", limit)
		}
	}
}

func (t tcp) Display() string { return fmt.Sprintf("Dependency::TCP(tcp://%s)", t.Address) }

// reason is the error to show for an error of a run: that it timed out, if that is the cause.
func reason(ctx context.Context, err error, timeout time.Duration) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) || ctx.Err() == nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("timed out after %s", timeout)
	}
	if ctx.Err() != nil {
		return errors.New("the agent is stopping")
	}
	return err
}
