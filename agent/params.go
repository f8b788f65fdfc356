package agent

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/braintree/lb/agent/score"
	"github.com/braintree/lb/netx/oneline"
)

const urlencoded = "application/x-www-form-urlencoded"

// parseForm reads parameters from the query and the body: urlencoded, multipart, or without a type, as curl and old clients send
// them. Rack, under litmus_paper, also takes a semicolon between parameters, which Go refuses.
func parseForm(r *http.Request) error {
	if r.Header.Get("Content-Type") == "" {
		r.Header.Set("Content-Type", urlencoded)
	}
	r.URL.RawQuery = strings.ReplaceAll(r.URL.RawQuery, ";", "&")
	if strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/") {
		// All of a body of at most maxBodyBytes fits in memory, so nothing goes to temporary files.
		return r.ParseMultipartForm(2 * maxBodyBytes)
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), urlencoded) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		if r.PostForm, err = url.ParseQuery(strings.ReplaceAll(string(body), ";", "&")); err != nil {
			return err
		}
	}
	return r.ParseForm()
}

// param is a parameter of a request that parseForm has read: the body's goes before the query's, and of several the last counts,
// as in litmus_paper.
func param(r *http.Request, name string) string {
	values := r.PostForm[name]
	if len(values) == 0 {
		values = r.URL.Query()[name]
	}
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

// parseHealth reads the number of a forced health.
func parseHealth(s string) (int, error) {
	if s == "" {
		return 0, errors.New("health is missing: give health=N, a whole number from 0 to 100")
	}
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 8)
	if err != nil || n > score.Max {
		return 0, fmt.Errorf("health must be a whole number from 0 to 100, not %q", oneline.Clean(s, 40))
	}
	return int(n), nil
}
