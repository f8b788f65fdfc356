package program

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestAProgramGetsItsInputAndEnvironment(t *testing.T) {
	o := Program{
		Argv: []string{"/bin/sh", "-c", `read -r line; echo "$line $LB_NODE $HOME"; echo bad >&2`}, Env: []string{"LB_NODE=10.0.0.1"}, Stdin: "a\tb\n",
	}.Run(t.Context())
	if o.Err != nil || o.Stdout != "a\tb 10.0.0.1 \n" || o.Said() != "bad" {
		t.Errorf("%+v", o)
	}
}

func TestAProgramIsKilledWithWhatItStarted(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begun := time.Now()
	o := Program{Argv: []string{"/bin/sh", "-c", "sleep 60 & sleep 60"}, Ended: func(error) error { return errors.New("too slow") }}.Run(ctx)
	if o.Err == nil || o.Err.Error() != "killed: too slow" || time.Since(begun) > 10*time.Second {
		t.Errorf("%+v after %s", o, time.Since(begun))
	}
}

func TestOutputIsBounded(t *testing.T) {
	o := Program{Argv: []string{"/bin/sh", "-c", "head -c 1000000 /dev/zero"}}.Run(t.Context())
	if o.Err != nil || len(o.Stdout) != maxOutput {
		t.Errorf("%d bytes, %v", len(o.Stdout), o.Err)
	}
	if o := (Program{Argv: []string{"/nonexistent"}}).Run(t.Context()); o.Err == nil || !strings.Contains(o.Err.Error(), "no such file") {
		t.Errorf("%+v", o)
	}
}
