package action

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/braintree/lb/ctl/doctor"
	"github.com/braintree/lb/netx"
)

func TestDoctorPrintsFindings(t *testing.T) {
	good := doctor.Finding{Good: true, What: "net.ipv4.vs.conntrack is 0"}
	bad := doctor.Finding{What: "the cable is loose", Why: "packets are lost", Fix: "plug it in", Of: []string{"eth0", "eth1"}}
	unknown := doctor.Finding{Unknown: true, What: "the other cable", Why: "it is dark", Fix: "bring a light"}
	var out bytes.Buffer
	if err := printFindings(&out, []doctor.Finding{good, bad, unknown}, nil, Format{}); !errors.Is(err, ErrUnsafeKernel) {
		t.Errorf("%v", err)
	}
	const want = `good: net.ipv4.vs.conntrack is 0
bad:  the cable is loose (eth0, eth1): packets are lost
  → plug it in
unknown: the other cable: it is dark
  → bring a light
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := printFindings(&out, []doctor.Finding{good}, nil, Format{}); err != nil {
		t.Errorf("all good: %v", err)
	}
	err := printFindings(&out, []doctor.Finding{good, unknown}, netx.ErrNoPrivilege, Format{})
	if !errors.Is(err, ErrUnsafeKernel) || !errors.Is(err, netx.ErrNoPrivilege) {
		t.Errorf("what is unknown is not good: %v", err)
	}
	if err := printFindings(&out, []doctor.Finding{bad, unknown}, netx.ErrNoPrivilege, Format{}); errors.Is(err, netx.ErrNoPrivilege) {
		t.Errorf("what is bad decides the status: %v", err)
	}
	out.Reset()
	if err := printFindings(&out, []doctor.Finding{good, bad}, nil, Format{JSON: true}); !errors.Is(err, ErrUnsafeKernel) {
		t.Errorf("%v", err)
	}
	var back []doctor.Finding
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || !cmp.Equal(back, []doctor.Finding{good, bad}) {
		t.Errorf("%v, %s", err, &out)
	}
}
