package config

import "time"

// OwnPage is the page that lb itself serves when all_down is "downpage" and no node has weight.
type OwnPage struct {
	Page       bool          // serve it, instead of leading packets to an address
	HTML       string        // path of the page; "" is a built-in one
	RetryAfter time.Duration // after which clients are told to try again, 1 s or more
	TLS        TLS           // its certificate, for ports where clients speak TLS; without ClientCAFile
}

// ownPage reads the keys of a downpage that are about lb's own page.
func (l *loader) ownPage(t *decoder) OwnPage {
	p := OwnPage{
		Page:       t.boolean("page", defaultPage),
		HTML:       file(t, "html"),
		RetryAfter: t.duration("retry_after", defaultRetryAfter),
	}
	if p.RetryAfter < time.Second {
		t.mistake("retry_after", "is less than the second that HTTP counts in", `write a duration such as "30s"`)
	}
	if tls, ok := t.table("tls"); ok {
		p.TLS = certificate(tls, "the page", "")
		tls.done()
	}
	for _, key := range []string{"html", "retry_after", "tls"} {
		if t.has(key) && !p.Page && (key != "tls" || p.TLS != TLS{}) {
			l.warn(t, key, "has no effect without page = true", "add that, or remove the key")
		}
	}
	for _, key := range []string{"address", "address6"} {
		if t.has(key) && p.Page {
			t.mistake(key, "is of a server elsewhere, but with page = true lb itself answers", "remove one of the two")
		}
	}
	return p
}
