package program

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestInputAndEnvironmentReachTheProgram(t *testing.T) {
	o := Command{
		Argv:  []string{"/bin/sh", "-c", `read -r line; echo "$line $LB_NODE $HOME"; echo bad >&2`},
		Env:   []string{"LB_NODE=10.0.0.1"},
		Stdin: "a\tb\n",
	}.Run(t.Context())
	if o.Err != nil || o.Stdout != "a\tb 10.0.0.1 \n" || o.Message() != "bad" {
		t.Errorf("%+v", o)
	}
}

func TestTheWholeProcessGroupIsKilledOnTimeout(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begun := time.Now()
	o := Command{
		Argv: []string{"/bin/sh", "-c", "sleep 60 & sleep 60"}, ContextErr: func(error) error { return errors.New("too slow") },
	}.Run(ctx)
	if o.Err == nil || o.Err.Error() != "killed: too slow" || time.Since(begun) > 10*time.Second {
		t.Errorf("%+v after %s", o, time.Since(begun))
	}
}

func TestOutputIsBounded(t *testing.T) {
	o := Command{Argv: []string{"/bin/sh", "-c", "head -c 1000000 /dev/zero"}}.Run(t.Context())
	if o.Err != nil || len(o.Stdout) != defaultMaxOutput {
		t.Errorf("%d bytes, %v", len(o.Stdout), o.Err)
	}
	if o := (Command{Argv: []string{"/nonexistent"}}).Run(t.Context()); o.Err == nil || !strings.Contains(o.Err.Error(), "no such file") {
		t.Errorf("%+v", o)
	}
}

// On a busy machine, nothing may be read before the program has exited.
func TestOutputWrittenBeforeTheExitIsNotLost(t *testing.T) {
	o, stderr, err := newOutputs(defaultMaxOutput)
	if err != nil {
		t.Fatal(err)
	}
	defer o.close()
	defer stderr.close()
	escaped, err := unix.Dup(int(o.w.Fd())) // a process outside the group that holds the stream open
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(escaped)
	if _, err := o.w.WriteString("0.5\n"); err != nil {
		t.Fatal(err)
	}
	if err := o.r.SetReadDeadline(time.Unix(1, 0)); err != nil { // keeps the reading goroutine from reading
		t.Fatal(err)
	}
	o.start()
	o.drain()
	if got := o.captured.String(); got != "0.5\n" {
		t.Errorf("captured %q", got)
	}
}

func TestAProcessOutsideTheGroupIsNotWaitedFor(t *testing.T) {
	begun := time.Now()
	o := Command{Argv: []string{"/bin/sh", "-c", "setsid sleep 30 & echo 0.5"}}.Run(t.Context())
	if took := time.Since(begun); o.Err != nil || o.Stdout != "0.5\n" || took > 10*time.Second {
		t.Errorf("%+v after %s", o, took)
	}
}
