package listen

import (
	"log/slog"
	"net/http"
	"sync/atomic"

	"golang.org/x/time/rate"
)

// Refusals are logged one by one up to refusalBurst, then one a second: who asks in a loop shall not fill the disk.
const (
	refusalRate  = rate.Limit(1)
	refusalBurst = 20
)

// Refusals logs changes that were not taken, and how many of them it did not log. It may be used by several goroutines.
type RefusalLog struct {
	log     *slog.Logger
	limit   *rate.Limiter
	skipped atomic.Int64 // since the last that was logged
}

// NewRefusals logs to log.
func NewRefusalLog(log *slog.Logger) *RefusalLog {
	return &RefusalLog{log: log, limit: rate.NewLimiter(refusalRate, refusalBurst)}
}

// Add logs or counts a refusal; attrs say what the change was about.
func (f *RefusalLog) Log(r *http.Request, refusal *Refusal, attrs ...any) {
	if !f.limit.Allow() {
		f.skipped.Add(1)
		return
	}
	attrs = append(attrs, "method", r.Method, "peer", Peer(r), "cause", refusal.Text)
	if n := f.skipped.Swap(0); n > 0 {
		attrs = append(attrs, "not_logged", n)
	}
	f.log.Warn("change refused", attrs...)
}
