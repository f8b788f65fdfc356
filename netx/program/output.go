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
	defaultMaxOutput = 64 << 10 // bytes captured from each of stdout and stderr by default
	maxPipeSize      = 1 << 20  // largest capacity of a pipe in bytes, see pipe(7)
)

// output captures one output stream of a program. It returns everything that the process group wrote before it ended,
// even if lb itself gets no CPU time until later. Processes that left the group may keep the stream open; nothing waits
// for them.
type output struct {
	r, w     *os.File
	captured boundedBuffer
	done     chan struct{} // closed when the reading goroutine ends; nil before start
}

// newOutputs returns the captures of stdout and stderr, each limited to limit bytes.
func newOutputs(limit int) (stdout, stderr *output, err error) {
	stdout, stderr = &output{captured: boundedBuffer{limit: limit}}, &output{captured: boundedBuffer{limit: limit}}
	for _, o := range []*output{stdout, stderr} {
		if o.r, o.w, err = os.Pipe(); err != nil {
			stdout.close()
			stderr.close()
			return nil, nil, fmt.Errorf("create a pipe for the output: %w", err)
		}
	}
	return stdout, stderr, nil
}

// start begins to read. The program must already have its end of the pipe.
func (o *output) start() {
	_ = o.w.Close() // or the pipe would never reach EOF
	o.w = nil
	o.done = make(chan struct{})
	go func() {
		defer close(o.done)
		_, _ = io.Copy(&o.captured, o.r) // returns at EOF or when drain sets the deadline
	}()
}

// drain reads what is left in the pipe, after the whole process group has ended.
func (o *output) drain() {
	_ = o.r.SetReadDeadline(time.Unix(1, 0)) // fails if the pipe is at EOF, where there is nothing to interrupt
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
				return // EOF, or the pipe is empty
			}
			_, _ = o.captured.Write(buf[:n]) // never fails
			total += n
		}
	})
}

// close closes the pipe.
func (o *output) close() {
	for _, end := range []*os.File{o.r, o.w} {
		if end != nil {
			_ = end.Close()
		}
	}
}

// boundedBuffer keeps the first limit bytes and discards the rest.
type boundedBuffer struct {
	limit int
	buf   bytes.Buffer
}

func (b *boundedBuffer) Write(p []byte) (int, error) {
	room := b.limit - b.buf.Len()
	b.buf.Write(p[:min(len(p), room)])
	return len(p), nil
}

func (b *boundedBuffer) String() string { return b.buf.String() }
