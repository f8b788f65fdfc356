package agenttest

import (
	"context"
	"net"
	"sync"
)

// Pipes is a listener whose connections stay inside a synctest bubble and use its clock for their deadlines.
// A write blocks until it is read: no kernel buffer hides a slow reader.
type Pipes struct {
	dialed chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// NewPipes returns a listener.
func NewPipes() *Pipes {
	return &Pipes{dialed: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept is for net.Listener.
func (p *Pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.dialed:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close is for net.Listener.
func (p *Pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr is for net.Listener.
func (p *Pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "unix"} }

// Dial connects to the listener, whatever the address. It waits for Accept.
func (p *Pipes) Dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	p.dialed <- server
	return client, nil
}
