package listen

import (
	"io"
	"net/http"
	"net/url"
	"strings"
)

const urlencoded = "application/x-www-form-urlencoded"

// ParseForm reads parameters from the query and the body: urlencoded, multipart, or without a type, as curl and old clients send
// them. Rack, under litmus_paper, also takes a semicolon between parameters, which Go refuses.
func ParseForm(r *http.Request) error {
	if r.Header.Get("Content-Type") == "" {
		r.Header.Set("Content-Type", urlencoded)
	}
	r.URL.RawQuery = strings.ReplaceAll(r.URL.RawQuery, ";", "&")
	mediaType, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	mediaType = strings.ToLower(strings.TrimSpace(mediaType)) // RFC 9110, section 8.3.1: in whichever case
	if strings.HasPrefix(mediaType, "multipart/") {
		// All of a body of at most MaxBody fits in memory, so nothing goes to temporary files.
		return r.ParseMultipartForm(2 * MaxBody)
	}
	if mediaType == urlencoded {
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

// Param is a parameter of a request that ParseForm has read: the body's goes before the query's, and of several the last counts,
// as in litmus_paper.
func Param(r *http.Request, name string) string {
	values := r.PostForm[name]
	if len(values) == 0 {
		values = r.URL.Query()[name]
	}
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}
