package listen

import (
	"log/slog"
	"net/http"
	"time"
)

// Limits of one client. Responses are small, so the timeouts allow for slow networks, not for slow work.
const (
	MaxHeader = 16 << 10 // bytes of request headers; net/http allows 4 KiB more
	MaxBody   = 64 << 10 // bytes of a request body; handlers enforce it with http.MaxBytesReader

	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second // of a whole request
)

// NewServer returns a server with all limits set. writeTimeout runs from the end of the request headers; idleTimeout is
// how long an idle connection stays open.
func NewServer(h http.Handler, log *slog.Logger, writeTimeout, idleTimeout time.Duration) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    MaxHeader,
		ConnContext:       connContext,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug), // clients' errors are not worth more
	}
}
