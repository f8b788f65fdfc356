package api

import (
	"cmp"
	"time"
)

// Problem is a condition that keeps clients from being served as configured, although the kernel accepts every change.
type Problem struct {
	Kind    string    `json:"kind"`              // a word that programs filter by
	Cluster string    `json:"cluster,omitempty"` // "": every cluster of this balancer
	Subject string    `json:"subject,omitempty"` // what has it, such as an address; with Kind and Cluster it identifies the problem
	Text    string    `json:"text"`              // what is wrong and what clients notice, in one sentence
	Fix     string    `json:"fix"`               // what to do
	Since   time.Time `json:"since"`             // when it was found
}

// Same reports whether two problems are one, found at two times.
func (p Problem) Same(q Problem) bool { return p.Compare(q) == 0 }

// Compare orders problems by cluster, kind and subject.
func (p Problem) Compare(q Problem) int {
	return cmp.Or(cmp.Compare(p.Cluster, q.Cluster), cmp.Compare(p.Kind, q.Kind), cmp.Compare(p.Subject, q.Subject))
}

// String is the problem with its fix, in one line.
func (p Problem) String() string {
	if p.Fix == "" {
		return p.Text
	}
	return p.Text + " → " + p.Fix
}
