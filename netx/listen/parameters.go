package listen

import (
	"io"
	"net/http"
	"net/url"
	"strings"
)

const urlencoded = "application/x-www-form-urlencoded"

// ParseForm parses the parameters of the query and the body: urlencoded, multipart, or without a content type, as sent
// by curl and old clients. Like Rack, which litmus_paper uses, it also splits parameters at semicolons, which Go
// rejects.
func ParseForm(r *http.Request) error {
	if r.Header.Get("Content-Type") == "" {
		r.Header.Set("Content-Type", urlencoded)
	}
	r.URL.RawQuery = strings.ReplaceAll(r.URL.RawQuery, ";", "&")
	mediaType, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	mediaType = strings.ToLower(strings.TrimSpace(mediaType)) // case-insensitive (RFC 9110, section 8.3.1)
	if strings.HasPrefix(mediaType, "multipart/") {
		// A body of at most MaxBody fits in memory, so no temporary files are used.
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

// Param returns a parameter of a request after ParseForm. The body takes precedence over the query, and the last of
// several values counts, as in litmus_paper.
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
