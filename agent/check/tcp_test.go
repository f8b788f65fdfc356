package check

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// respond serves connections: it reads a line, sends the answer to it, and closes.
func respond(t *testing.T, answer func(line string) string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, l, answer)
	return l.Addr().String()
}

// serve answers the connections of l until the test ends.
func serve(t *testing.T, l net.Listener, answer func(line string) string) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.SetDeadline(time.Now().Add(time.Second))
			line, _ := readUntil(c, []byte("\n"), 100)
			io.WriteString(c, answer(string(line)))
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
}

func TestTCP(t *testing.T) {
	redis := respond(t, func(line string) string {
		if line == "PING\r\n" {
			return "+PONG\r\n"
		}
		return "-ERR\r\n"
	})
	mute := respond(t, func(string) string { return "" })
	flood := respond(t, func(string) string { return strings.Repeat("x", maxAnswer+10) + "+PONG" })
	for _, tc := range []struct {
		name    string
		options map[string]any
		ok      bool
		reason  string
	}{
		{"connects", map[string]any{"address": redis}, true, "connected"},
		{"answers as expected", map[string]any{"address": redis, "send": "PING\r\n", "expect": "+PONG"}, true, `answered "+PONG"`},
		{"answers differently", map[string]any{"address": redis, "send": "QUIT\r\n", "expect": "+PONG"}, false, `got "-ERR"`},
		{"closes without an answer", map[string]any{"address": mute, "send": "PING\r\n", "expect": "+PONG"}, false,
			"no response: the peer closed"},
		{"sends only", map[string]any{"address": mute, "send": "PING\r\n"}, true, "connected"},
		{"answers too much", map[string]any{"address": flood, "send": "PING\r\n", "expect": "+PONG"}, false,
			"not found within 65536 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want(t, run(t, dependency("tcp", tc.options), Host{}), tc.ok, tc.reason)
		})
	}
}

func TestTCPTimesOut(t *testing.T) {
	address, closed := silent(t)
	c := dependency("tcp", map[string]any{"address": address, "expect": "x"})
	c.Timeout = 50 * time.Millisecond
	want(t, run(t, c, Host{}), false, "timed out after 50ms")
	closed()
	want(t, run(t, dependency("tcp", map[string]any{"address": address}), Host{}), false, "refused")
}

func FuzzReadUntil(f *testing.F) {
	f.Add([]byte("abc+PONG\r\n"), []byte("+PONG"), 100)
	f.Add([]byte("abc"), []byte("c"), 2)
	f.Fuzz(func(t *testing.T, data, look []byte, limit int) {
		if len(look) == 0 || limit < 1 || limit > 1<<16 {
			return
		}
		got, err := readUntil(iotest.OneByteReader(bytes.NewReader(data)), look, limit)
		if len(got) > limit || !bytes.HasPrefix(data, got) {
			t.Fatalf("read %q of %q with limit %d", got, data, limit)
		}
		if wanted := bytes.Contains(data[:min(len(data), limit)], look); wanted != (err == nil) {
			t.Fatalf("looking for %q in %q within %d: %v", look, data, limit, err)
		}
	})
}
