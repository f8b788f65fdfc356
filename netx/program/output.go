package program

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	defaultMaxOutput = 64 << 10 // bytes kept of each of stdout and stderr, unless the Program says otherwise
	maxPipeSize      = 1 << 20  // bytes that a pipe may hold, see pipe(7)
)

// output collects what a program writes to one of its streams. What the program and its group have written is kept however long lb has to
// wait for the processor; who has left the group may hold the stream open, and is not waited for.
type output struct {
	r, w     *os.File
	captured boundedBuffer
	done     chan struct{} // closed when the goroutine that reads has ended; nil before it begins
}

// newOutputs makes those of stdout and stderr, which keep so many bytes each.
func newOutputs(limit int) (stdout, stderr *output, err error) {
	stdout, stderr = &output{captured: boundedBuffer{limit: limit}}, &output{captured: boundedBuffer{limit: limit}}
	for _, o := range []*output{stdout, stderr} {
		if o.r, o.w, err = os.Pipe(); err != nil {
			stdout.close()
			stderr.close()
			return nil, nil, fmt.Errorf("make a pipe for the output: %w", err)
		}
	}
	return stdout, stderr, nil
}

// begin reads from here on. The program has its end of the pipe already.
func (o *output) start() {
	_ = o.w.Close() // else the pipe would never end
	o.w = nil
	o.done = make(chan struct{})
	go func() {
		defer close(o.done)
		_, _ = io.Copy(&o.captured, o.r) // ends with the pipe, or by finish
	}()
}

// finish takes what is left in the pipe once nobody who matters can write any more.
func (o *output) drain() {
	_ = o.r.SetReadDeadline(time.Unix(1, 0)) // of a pipe that has ended: nothing is left to end
	<-o.done
	raw, err := o.r.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		buf := make([]byte, 4096)
		for total := 0; total < maxPipeSize; {
			n, err := unix.Read(int(fd), buf)
			if err == unix.EINTR {
				continue
			}
			if n <= 0 {
				return // the end, or all that there is
			}
			_, _ = o.captured.Write(buf[:n]) // never fails
			total += n
		}
	})
}

// close gives the pipe back.
func (o *output) close() {
	for _, end := range []*os.File{o.r, o.w} {
		if end != nil {
			_ = end.Close()
		}
	}
}

// bounded keeps the first bytes written to it and takes the rest without complaint.
type boundedBuffer struct {
	limit int // bytes kept
	buf   bytes.Buffer
}

func (b *boundedBuffer) Write(p []byte) (int, error) {
	room := b.limit - b.buf.Len()
	b.buf.Write(p[:min(len(p), room)])
	return len(p), nil
}

func (b *boundedBuffer) String() string { return b.buf.String() }
