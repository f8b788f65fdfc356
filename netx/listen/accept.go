package listen

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// Accepts tells how much the client wants this media type, 0 to 1, as far as it names it: what takes anything gets what the originals gave.
func AcceptQuality(r *http.Request, mediaType string) float64 {
	best := 0.0
	for _, accept := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(accept, ",") {
			t, params, err := mime.ParseMediaType(part)
			if err != nil || t != mediaType {
				continue
			}
			q := 1.0
			if s, given := params["q"]; given {
				if q, err = strconv.ParseFloat(s, 64); err != nil || !(q >= 0 && q <= 1) {
					q = 0
				}
			}
			best = max(best, q)
		}
	}
	return best
}
