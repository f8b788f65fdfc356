package program

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestAProgramGetsItsInputAndEnvironment(t *testing.T) {
	o := Command{
		Argv: []string{"/bin/sh", "-c", `read -r line; echo "$line $LB_NODE $HOME"; echo bad >&2`}, Env: []string{"LB_NODE=10.0.0.1"}, Stdin: "a\tb\n",
	}.Run(t.Context())
	if o.Err != nil || o.Stdout != "a\tb 10.0.0.1 \n" || o.Message() != "bad" {
		t.Errorf("%+v", o)
	}
}

func TestAProgramIsKilledWithWhatItStarted(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begun := time.Now()
	o := Command{Argv: []string{"/bin/sh", "-c", "sleep 60 & sleep 60"}, ContextErr: func(error) error { return errors.New("too slow") }}.Run(ctx)
	if o.Err == nil || o.Err.Error() != "killed: too slow" || time.Since(begun) > 10*time.Second {
		t.Errorf("%+v after %s", o, time.Since(begun))
	}
}

func TestOutputIsBounded(t *testing.T) {
	o := Command{Argv: []string{"/bin/sh", "-c", "head -c 1000000 /dev/zero"}}.Run(t.Context())
	if o.Err != nil || len(o.Stdout) != maxOutput {
		t.Errorf("%d bytes, %v", len(o.Stdout), o.Err)
	}
	if o := (Command{Argv: []string{"/nonexistent"}}).Run(t.Context()); o.Err == nil || !strings.Contains(o.Err.Error(), "no such file") {
		t.Errorf("%+v", o)
	}
}

// On a machine that is busy enough, nothing reads before the program has ended.
func TestOutputIsKeptHoweverLateItIsRead(t *testing.T) {
	o, stderr, err := newOutputs(maxOutput)
	if err != nil {
		t.Fatal(err)
	}
	defer o.close()
	defer stderr.close()
	leaver, err := unix.Dup(int(o.w.Fd())) // somebody who holds the stream open
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(leaver)
	if _, err := o.w.WriteString("0.5\n"); err != nil {
		t.Fatal(err)
	}
	if err := o.r.SetReadDeadline(time.Unix(1, 0)); err != nil { // the goroutine that reads has no chance to
		t.Fatal(err)
	}
	o.begin()
	o.finish()
	if got := o.kept.String(); got != "0.5\n" {
		t.Errorf("kept %q", got)
	}
}

func TestWhoLeavesTheGroupIsNotWaitedFor(t *testing.T) {
	begun := time.Now()
	o := Command{Argv: []string{"/bin/sh", "-c", "setsid sleep 30 & echo 0.5"}}.Run(t.Context())
	if took := time.Since(begun); o.Err != nil || o.Stdout != "0.5\n" || took > 10*time.Second {
		t.Errorf("%+v after %s", o, took)
	}
}
