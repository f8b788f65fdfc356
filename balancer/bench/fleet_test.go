//go:build bench

package bench

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fleet imitates agents on every address of 127.0.0.0/8 at one port. It does as little work as possible for polls and streams.
type fleet struct {
	port    uint16
	streams bool // whether agents have streams
	polls   atomic.Int64
	open    atomic.Int64 // open streams
	beats   atomic.Int64 // heartbeats sent
}

// newFleet serves until the test ends.
func newFleet(t *testing.T, streams bool) *fleet {
	t.Helper()
	listen := net.ListenConfig{KeepAlive: -1, Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		controlErr := c.Control(func(fd uintptr) { err = unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "lo") })
		if controlErr != nil {
			return controlErr
		}
		return err
	}}
	l, err := listen.Listen(t.Context(), "tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{port: netip.MustParseAddrPort(l.Addr().String()).Port(), streams: streams}
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				defer context.AfterFunc(ctx, func() { _ = c.Close() })()
				f.serve(c)
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		serving.Wait()
	})
	return f
}

// serve serves one connection until it ends.
func (f *fleet) serve(c net.Conn) {
	const page = "Health: 92\nMeasured Health: 92\nDependency::HTTP(http://localhost:3000/heartbeat): OK\n" +
		"Metric::CPULoad(50): 42\nMetric::AvailableMemory(50): 50\n"
	response := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"+
		"X-Health: 92\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Length: %d\r\n\r\n%s", len(page), page)
	in := bufio.NewReaderSize(c, 512)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		for header := line; header != "\r\n"; {
			if header, err = in.ReadString('\n'); err != nil {
				return
			}
		}
		target, _ := url.ParseRequestURI(strings.Fields(line + " - -")[1])
		service, page, _ := strings.Cut(strings.TrimPrefix(target.Path, "/"), "/")
		switch {
		case page == "watch" && f.streams:
			f.stream(c, service, target.Query().Get("heartbeat"))
			return
		case page == "watch":
			_, err = c.Write([]byte("HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nNOT FOUND"))
		default:
			f.polls.Add(1)
			_, err = c.Write(response)
		}
		if err != nil {
			return
		}
	}
}

// stream sends one event and then heartbeats at the requested interval, in the form of net/http for an HTTP/1.0 client.
func (f *fleet) stream(c net.Conn, service, requested string) {
	interval, err := time.ParseDuration(requested)
	if err != nil {
		return
	}
	event := fmt.Sprintf("retry: 1000\nid: 1-1\nevent: health\n"+
		"data: {\"service\":%q,\"health\":92,\"measured\":92,\"forced\":null,"+
		"\"reason\":\"measured\",\"at\":\"2026-01-01T00:00:00Z\"}\n\n", service)
	if _, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Heartbeat: %g\r\nConnection: close\r\n\r\n%s",
		interval.Seconds(), event); err != nil {
		return
	}
	f.open.Add(1)
	defer f.open.Add(-1)
	heartbeat := []byte(": heartbeat\n\n")
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for range ticker.C {
		if _, err := c.Write(heartbeat); err != nil {
			return
		}
		f.beats.Add(1)
	}
}
