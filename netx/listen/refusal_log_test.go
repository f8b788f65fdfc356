package listen

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestRefusalLogIsRateLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		refusals := NewRefusalLog(slog.New(slog.NewTextHandler(&out, nil)))
		r := &http.Request{Method: http.MethodPut, RemoteAddr: "192.0.2.1:4711"}
		for range 1000 {
			refusals.Log(r, &Refusal{Status: http.StatusForbidden, Text: "not you"}, "cluster", "web")
		}
		time.Sleep(time.Second)
		refusals.Log(r, &Refusal{Status: http.StatusForbidden, Text: "nor you"})
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		first, last := lines[0], lines[len(lines)-1]
		if len(lines) != refusalBurst+1 || !strings.Contains(first, `cluster=web method=PUT peer=192.0.2.1:4711 cause="not you"`) ||
			!strings.Contains(last, fmt.Sprintf("not_logged=%d", 1000-refusalBurst)) {
			t.Errorf("the log contains\n%s", out.String())
		}
	})
}
