package hook

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/sanitize"
)

// webhook posts each event as JSON.
type webhook struct {
	cfg    config.Hook
	client *http.Client
}

func newWebhook(cfg config.Hook) *webhook {
	return &webhook{cfg, &http.Client{
		// No persistent connections: events are rare, and the server may be another machine by the next one.
		Transport:     &http.Transport{DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (w *webhook) send(ctx context.Context, events []event.Event, deliver deliverFunc) {
	for _, e := range events {
		deliver(ctx, 1, func(ctx context.Context) error { return w.post(ctx, e) })
	}
}

// post posts one event. Most 4xx responses are permanent failures.
func (w *webhook) post(ctx context.Context, e event.Event) error {
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("%w: %w", errPermanent, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: %w", errPermanent, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "lb")
	for k, v := range w.cfg.Headers {
		req.Header.Set(k, v)
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return fmt.Errorf("post event %d: %w", e.Number, err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxOutput)) // only for the log
	switch {
	case resp.StatusCode < 300:
		return nil
	case resp.StatusCode < 500 && resp.StatusCode != http.StatusRequestTimeout && resp.StatusCode != http.StatusTooEarly &&
		resp.StatusCode != http.StatusTooManyRequests:
		return fmt.Errorf("post event %d: status %d %q: %w", e.Number, resp.StatusCode, sanitize.Line(string(text), maxOutput),
			errPermanent)
	}
	return fmt.Errorf("post event %d: status %d %q", e.Number, resp.StatusCode, sanitize.Line(string(text), maxOutput))
}
