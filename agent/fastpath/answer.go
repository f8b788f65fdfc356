package fastpath

import (
	"bytes"
	"net/http"
	"strconv"
	"time"
)

// Answer is an answer that does not change, but for its date. It may be sent by several goroutines.
type Answer struct {
	head []byte // what follows the version, up to the date
	body []byte
}

// NewAnswer makes an answer. The header has Content-Length and Content-Type, and neither Date nor Connection.
func NewAnswer(status int, header http.Header, body []byte) *Answer {
	var head bytes.Buffer
	head.WriteString(" " + strconv.Itoa(status) + " " + http.StatusText(status) + "\r\n")
	_ = header.Write(&head) // a buffer takes everything
	head.WriteString("Date: ")
	return &Answer{head: head.Bytes(), body: body}
}

// appendTo appends what net/http would send for the request: the version of the request, the header sorted, then what is new to
// each answer.
func (a *Answer) appendTo(b []byte, now time.Time, old, closes bool) []byte {
	if old {
		b = append(b, "HTTP/1.0"...)
	} else {
		b = append(b, "HTTP/1.1"...)
	}
	b = append(b, a.head...)
	b = now.UTC().AppendFormat(b, http.TimeFormat)
	if closes && !old { // in HTTP/1.0 a connection ends unless the answer says that it stays
		b = append(b, "\r\nConnection: close"...)
	}
	b = append(b, "\r\n\r\n"...)
	return append(b, a.body...)
}
