//go:build lab

package program

import (
	"context"
	"os"
	"testing"
	"time"
)

func TestAProgramDoesNotInheritOOMProtection(t *testing.T) {
	const own = "/proc/self/oom_score_adj"
	before, err := os.ReadFile(own)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(own, []byte("-900"), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(own, before, 0); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	o := Command{Argv: []string{"/bin/sh", "-c", `while read -r score </proc/$$/oom_score_adj && [ "$score" != 0 ]; do :; done`}}.Run(ctx)
	if o.Err != nil {
		t.Errorf("its OOM score is not reset: %+v", o)
	}
}
