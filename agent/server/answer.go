package server

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/braintree/lb/netx/listen"
)

// wantsJSON reports whether the client names JSON in Accept. A client that accepts anything gets text, as
// from litmus_paper.
func wantsJSON(r *http.Request) bool { return listen.AcceptQuality(r, "application/json") > 0 }

func answer(w http.ResponseWriter, status int, body string) {
	send(w, status, plainText, []byte(body))
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil { // no report has values that cannot be encoded today; a later one with a NaN must not look healthy
		answer(w, http.StatusInternalServerError, "encode the response: "+err.Error()+"\n")
		return
	}
	send(w, status, inJSON, append(body, '\n'))
}

// Values of header fields, shared by all responses and never modified. Header.Set would allocate each of them,
// a large part of an answer's cost.
var (
	plainText = []string{"text/plain; charset=utf-8"}
	inJSON    = []string{"application/json"}
	noSniff   = []string{"nosniff"}
	noStore   = []string{"no-store"}
)

// setEntity sets the header fields of every response with a body.
func setEntity(h http.Header, contentType []string, body []byte) {
	h["Content-Type"] = contentType
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	h["X-Content-Type-Options"] = noSniff
	h["Cache-Control"] = noStore
}

func send(w http.ResponseWriter, status int, contentType []string, body []byte) {
	setEntity(w.Header(), contentType, body)
	w.WriteHeader(status)
	w.Write(body) // a failed write means that the client is gone
}
