package fastpath

import (
	"bytes"
	"net/http"
	"strconv"
	"time"
)

// Answer is a response, complete except for its date. It is immutable.
type Answer struct {
	head []byte // from the status to the value of Date
	body []byte
}

// NewAnswer returns an answer. The header must have Content-Length and Content-Type, and must not have Date or
// Connection.
func NewAnswer(status int, header http.Header, body []byte) *Answer {
	var head bytes.Buffer
	head.WriteString(" " + strconv.Itoa(status) + " " + http.StatusText(status) + "\r\n")
	_ = header.Write(&head) // writing to a buffer never fails
	head.WriteString("Date: ")
	return &Answer{head: head.Bytes(), body: body}
}

// appendTo appends the response that net/http would send: the version of the request, the sorted header,
// Date, and Connection if the connection closes.
func (a *Answer) appendTo(b []byte, now time.Time, http10, closes bool) []byte {
	if http10 {
		b = append(b, "HTTP/1.0"...)
	} else {
		b = append(b, "HTTP/1.1"...)
	}
	b = append(b, a.head...)
	b = now.UTC().AppendFormat(b, http.TimeFormat)
	if closes && !http10 { // the default of HTTP/1.0
		b = append(b, "\r\nConnection: close"...)
	}
	b = append(b, "\r\n\r\n"...)
	return append(b, a.body...)
}
