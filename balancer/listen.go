package balancer

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/braintree/lb/netx/listen"
)

// Bounds of what clients may take up, beside those of package listen.
const (
	maxConns   = 256              // on each listener; more have to wait
	answerTime = 30 * time.Second // for an answer that changes nothing
	changeTime = 2 * time.Minute  // for a start or a stop: a start waits for the nodes' first answers
	keepAlive  = time.Minute
)

// listener is the balancer in the words of errors.
func listener() listen.Daemon { return listen.Daemon{Name: "lb balance", Section: "balancer"} }

func newServer(h handler, log *slog.Logger) *http.Server {
	return listen.NewServer(h, log, answerTime, keepAlive)
}

// Alone holds the place of the one balancer of this network namespace; see listen.Daemon.
func Alone(ctx context.Context) (io.Closer, error) { return listener().LockInstance(ctx) }
