package listen

import (
	"log/slog"
	"net/http"
	"sync/atomic"

	"golang.org/x/time/rate"
)

// The first refusalBurst refusals are logged, then one per second, so that a client in a loop cannot fill the disk.
const (
	refusalRate  = rate.Limit(1)
	refusalBurst = 20
)

// RefusalLog logs refused changes, with a rate limit, and how many it suppressed. It is safe for concurrent use.
type RefusalLog struct {
	log        *slog.Logger
	limit      *rate.Limiter
	suppressed atomic.Int64 // since the last one logged
}

// NewRefusalLog returns a RefusalLog that writes to log.
func NewRefusalLog(log *slog.Logger) *RefusalLog {
	return &RefusalLog{log: log, limit: rate.NewLimiter(refusalRate, refusalBurst)}
}

// Log logs or counts a refusal; attrs describe the change.
func (l *RefusalLog) Log(r *http.Request, refusal *Refusal, attrs ...any) {
	if !l.limit.Allow() {
		l.suppressed.Add(1)
		return
	}
	attrs = append(attrs, "method", r.Method, "peer", Peer(r), "cause", refusal.Text)
	if n := l.suppressed.Swap(0); n > 0 {
		attrs = append(attrs, "not_logged", n)
	}
	l.log.Warn("change refused", attrs...)
}
