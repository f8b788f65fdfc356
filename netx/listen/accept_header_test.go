package listen

import (
	"net/http/httptest"
	"testing"
)

func TestAcceptQuality(t *testing.T) {
	for _, tt := range []struct {
		name   string
		accept []string
		want   float64
	}{
		{"no header", nil, 0},
		{"wildcard", []string{"*/*"}, 0},
		{"by name", []string{"application/json"}, 1},
		{"among others, with parameters", []string{"text/plain, Application/JSON; charset=utf-8;q=0.5"}, 0.5},
		{"in a second Accept header", []string{"text/html", "application/json"}, 1},
		{"quality 0", []string{"application/json;q=0"}, 0},
		{"malformed", []string{"application/json;q=NaN", "application/json;q=7", ";;", "application/jsonx"}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header["Accept"] = tt.accept
			if got := AcceptQuality(r, "application/json"); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
