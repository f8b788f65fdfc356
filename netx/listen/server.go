package listen

import (
	"log/slog"
	"net/http"
	"time"
)

// Bounds of what one client may take up. Answers are small, so the times are for slow networks, not slow work.
const (
	MaxHeader = 16 << 10 // bytes of a request's headers, and net/http lets 4 KiB more go by
	MaxBody   = 64 << 10 // bytes of a request's body; handlers hold to it with http.MaxBytesReader

	readHeaderTime = 5 * time.Second
	readTime       = 10 * time.Second // of a whole request
)

// Server makes a server with all bounds. write is how long an answer may take from the end of the request's headers on, idle
// how long a connection is kept between requests.
func NewServer(h http.Handler, log *slog.Logger, write, idle time.Duration) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTime,
		ReadTimeout:       readTime,
		WriteTimeout:      write,
		IdleTimeout:       idle,
		MaxHeaderBytes:    MaxHeader,
		ConnContext:       withConn,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug), // what clients do wrong is not news
	}
}
