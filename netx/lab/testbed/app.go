package testbed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/braintree/lb/netx/lab"
	"github.com/braintree/lb/netx/vip"
)

// App is an app node: a web application that answers transactions, its heartbeat, and the agent next to it.
type App struct {
	Host    *lab.Host
	Address netip.Addr // in the private network
	Agent   *Daemon

	heartbeat atomic.Int32 // HTTP status of the heartbeat
	served    atomic.Int64 // answered transactions
	servers   []*http.Server
	done      sync.WaitGroup
}

// NewApp returns an app node on a host. Serve starts its application; its agent is the caller's to set.
func NewApp(host *lab.Host, address netip.Addr) *App {
	a := &App{Host: host, Address: address}
	a.heartbeat.Store(http.StatusOK)
	return a
}

// SetHeartbeat sets the HTTP status of the heartbeat.
func (a *App) SetHeartbeat(status int) { a.heartbeat.Store(int32(status)) }

// SetHealth sets the health, 0–100, that the node measures from its next check on.
func (a *App) SetHealth(health int) error {
	return a.Host.WriteFile(healthPath, []byte(strconv.Itoa(health)+"\n"), 0o644)
}

// Served returns how many transactions this app has answered.
func (a *App) Served() int64 { return a.served.Load() }

// Serve starts the application on port 443 of every address, including the VIP, and its heartbeat on localhost.
func (a *App) Serve(ctx context.Context) error {
	if err := a.SetHealth(100); err != nil {
		return err
	}
	app := http.NewServeMux()
	app.HandleFunc("POST /transactions", func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		a.served.Add(1)
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, a.Host.Name())
	})
	app.HandleFunc("GET /stream", func(w http.ResponseWriter, _ *http.Request) { Echo(w, a.Host.Name()) })
	heartbeat := http.NewServeMux()
	heartbeat.HandleFunc("GET /heartbeat", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(int(a.heartbeat.Load()))
	})
	if err := a.listen(ctx, fmt.Sprintf("0.0.0.0:%d", Port), app); err != nil {
		return err
	}
	return a.listen(ctx, "127.0.0.1:3000", heartbeat)
}

// Echo answers each line from the client with a node's name until the connection is closed.
func Echo(w http.ResponseWriter, name string) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	for {
		if _, err := buffered.ReadString('\n'); err != nil {
			return
		}
		if _, err := fmt.Fprintln(conn, name); err != nil {
			return
		}
	}
}

// waitForVIP waits until the agent has configured the node to accept tunnelled packets for the VIP.
func (a *App) waitForVIP(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		var has bool
		err := a.Host.Do(func() (err error) {
			has, err = vip.Has(ctx, "tunl0", netip.PrefixFrom(VIP, 32))
			return err
		})
		if has {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not accept packets for %s: %w\n%s", a.Host.Name(), VIP, errors.Join(err, ctx.Err()), a.Agent.Log())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (a *App) listen(ctx context.Context, address string, handler http.Handler) error {
	listener, err := a.Host.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("app on %s: %w", a.Host.Name(), err)
	}
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 30 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	a.servers = append(a.servers, server)
	a.done.Go(func() { _ = server.Serve(listener) }) // returns when Stop closes it
	return nil
}

// Stop stops the application. The agent ends with the host.
func (a *App) Stop() {
	for _, server := range a.servers {
		_ = server.Close()
	}
	a.done.Wait()
}
