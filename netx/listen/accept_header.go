package listen

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// AcceptQuality returns the quality (0 to 1) that the Accept header gives to mediaType by name. Wildcards count as 0: a
// client that accepts anything gets the format of the programs that lb replaces.
func AcceptQuality(r *http.Request, mediaType string) float64 {
	best := 0.0
	for _, accept := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(accept, ",") {
			t, params, err := mime.ParseMediaType(part)
			if err != nil || t != mediaType {
				continue
			}
			q := 1.0
			if s, present := params["q"]; present {
				if q, err = strconv.ParseFloat(s, 64); err != nil || !(q >= 0 && q <= 1) {
					q = 0
				}
			}
			best = max(best, q)
		}
	}
	return best
}
