package server

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/netx/listen"
)

//go:embed home.html
var statusPageText string

// statusPage is GET / for people.
var statusPage = template.Must(template.New("page").Parse(statusPageText))

// wantsPage reports whether the client is a browser: it names HTML and prefers it.
func wantsPage(r *http.Request) bool {
	html := listen.AcceptQuality(r, "text/html")
	return html > 0 && html >= listen.AcceptQuality(r, "application/json") && html >= listen.AcceptQuality(r, "text/plain")
}

// answerPage sends the page. The page contains no script and may load nothing.
func answerPage(w http.ResponseWriter, s api.Status) {
	var body bytes.Buffer
	if err := statusPage.Execute(&body, s); err != nil {
		text(w, http.StatusInternalServerError, err.Error()+"\n")
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(body.Bytes()) // the client may have disconnected
}
