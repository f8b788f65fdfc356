package server

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/braintree/lb/balancer/api"
)

func TestThePageEscapesWhatItShows(t *testing.T) {
	health, weight := 92, 60
	const evil = `<script>alert("x")</script>`
	s := api.Status{Version: evil, Clusters: []api.ClusterStatus{{
		Name: evil, Mark: 7, Scheduler: "wlc", Running: true, CombinedWeight: 60, LastError: evil,
		Nodes: []api.NodeStatus{
			{Address: "10.0.0.1", Health: &health, Weight: 60, KernelWeight: &weight, State: "up", Why: evil, ActiveConns: 3},
			{Address: "10.0.0.2", State: "unknown", Why: "no response yet"},
		},
	}, {
		Name: "idle", Mark: 8, Notice: "no node has weight: the downpage answers",
		Nodes:    []api.NodeStatus{{Address: "10.1.0.9", Site: "sfo", State: "down"}},
		Downpage: &api.NodeStatus{Address: "169.254.254.254", Weight: 1, State: "up", Why: "all are down"},
	}}}
	w := httptest.NewRecorder()
	answerPage(w, s)
	body := w.Body.String()
	if strings.Contains(body, "<script") || strings.Count(body, "&lt;script&gt;") != 4 {
		t.Errorf("texts from other programs are not escaped:\n%s", body)
	}
	for _, want := range []string{
		"<td>10.0.0.1<td class=\"n\">92<td class=\"n\">60<td class=\"n\">60<td class=\"n\">3<td class=\"n\">0<td class=\"up\">up<td>",
		"<td>10.0.0.2<td class=\"n\">–<td class=\"n\">0<td class=\"n\">–<td class=\"n\">0<td class=\"n\">0" +
			"<td class=\"unknown\">unknown<td>no response yet",
		"<h2>idle <span class=\"stopped\">(stopped)</span></h2>",
		"<br><span class=\"trouble\">no node has weight: the downpage answers</span>",
		"<td>10.1.0.9 (sfo)<td",
		"<td>169.254.254.254 (downpage)<td class=\"n\">–<td class=\"n\">1<td class=\"n\">–<td class=\"n\">0<td class=\"n\">0" +
			"<td class=\"up\">up<td>all are down",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not have %q:\n%s", want, body)
		}
	}
	h := w.Header()
	if h.Get("Content-Type") != "text/html; charset=utf-8" || !strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("header %v", h)
	}
}

func TestClientsGetTheFormatTheyAccept(t *testing.T) {
	for _, tt := range []struct{ name, accept, want string }{
		{"a browser", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html; charset=utf-8"},
		{"curl", "*/*", "text/plain; charset=utf-8"},
		{"a program", "application/json", "application/json"},
		{"JSON rather than HTML", "text/html;q=0.5, application/json", "application/json"},
		{"no header", "", "text/plain; charset=utf-8"},
		{"text rather than HTML", "text/plain, text/html;q=0.9", "text/plain; charset=utf-8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header.Set("Accept", tt.accept)
			w := httptest.NewRecorder()
			handler{Options: Options{Clusters: &fakeClusters{}}}.ServeHTTP(w, r)
			if got := w.Header().Get("Content-Type"); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
