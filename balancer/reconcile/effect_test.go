package reconcile

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/balancer/kernel"
	"github.com/braintree/lb/netx/mark"
)

func TestLostPacketsAreAProblemOfTheirCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.observe(50)
		c := s.Model.Clusters()[0]
		s.Model.Lifecycle().Run(time.Now(), c)
		s.Reconcile(t.Context(), Startup)
		interval := func(marked, arrived uint64) {
			s.marks.SetCounts(mark.Count{Mark: 7, Protocol: "tcp", Port: 80, Marked: marked, Arrived: arrived},
				mark.Count{Mark: 99, Protocol: "tcp", Port: 80, Marked: marked})
			time.Sleep(s.Model.Interval())
			s.Reconcile(t.Context(), Timer)
		}
		interval(0, 0)
		interval(10, 0)
		interval(20, 0)
		standing := s.Report.Standing()
		if len(standing) != 1 || standing[0].Cluster != "web" || standing[0].Kind != "marks_lost" ||
			!strings.HasPrefix(standing[0].Text, "of the last 20 packets that open a connection to port 80 (tcp)") {
			t.Fatalf("problems: %+v", standing)
		}
		interval(30, 10)
		if standing := s.Report.Standing(); len(standing) > 0 {
			t.Errorf("after packets have arrived: %+v", standing)
		}
		interval(40, 10)
		s.Model.Lifecycle().Stop(time.Now(), c, "test")
		interval(50, 10)
		if standing := s.Report.Standing(); len(standing) > 0 {
			t.Errorf("of a cluster that is stopped: %+v", standing)
		}
	})
}

func TestALossNamesWhatMayCauseIt(t *testing.T) {
	loss := kernel.Loss{Mark: 7, Protocol: "udp", Port: 53, Marked: 30, Arrived: 2}
	always := mark.Foreign{Kind: mark.ChangesMarks, What: "chain inet a b sets marks", Show: "`nft list table inet a`", Always: true}
	some := mark.Foreign{Kind: mark.Drops, What: "chain ip f INPUT drops packets", Show: "`nft list table ip f`"}
	harmless := mark.Foreign{Kind: mark.Harmless, What: "chain ip f early sets marks", Show: "`nft list table ip f`", Always: true}
	const text = "of the last 30 packets to port 53 (udp), which lb's rules gave mark 7, 2 arrived at IPVS with it, " +
		"so clients get no answer"
	for _, tt := range []struct {
		name      string
		in        mark.Inspection
		text, fix string
	}{
		{"nothing known", mark.Inspection{}, text, "look for what drops packets or changes their mark: "},
		{"harmless", mark.Inspection{Foreign: []mark.Foreign{harmless}}, text, "look for what drops packets or changes their mark: "},
		{"some", mark.Inspection{Foreign: []mark.Foreign{some, harmless}}, text + "; chain ip f INPUT drops packets",
			"let it leave lb's marks and packets alone; `nft list table ip f` shows it"},
		{"sure", mark.Inspection{Foreign: []mark.Foreign{always, some}}, text + "; chain inet a b sets marks",
			"let it leave lb's marks and packets alone; `nft list table inet a` shows it"},
	} {
		if p := lossProblem("dns", loss, tt.in); p.Text != tt.text || !strings.HasPrefix(p.Fix, tt.fix) {
			t.Errorf("%s: %s → %s", tt.name, p.Text, p.Fix)
		}
	}
}

// TestARouterIsNoLoss: packets for a virtual IP on another balancer only pass through this machine.
func TestARouterIsNoLoss(t *testing.T) {
	s := newStage(t)
	rules := s.Model.Wanted().MarkRules()
	loss := kernel.Loss{Mark: 7, Protocol: "tcp", Port: 80, Marked: 30}
	in := mark.Inspection{}
	if isHere(loss, rules, in) {
		t.Error("the virtual IP counts as being here")
	}
	in.Local = map[netip.Addr]bool{rules[0].Address: true}
	if !isHere(loss, rules, in) {
		t.Error("the virtual IP does not count as being here")
	}
	loss.Port = 81
	if isHere(loss, rules, in) {
		t.Error("another port of it does")
	}
}

func TestAnErrorOfTheCountersIsNoProblem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.marks.SetFault(func(operation string) error {
			if operation == "count marks" {
				return errors.New("no such device")
			}
			return nil
		})
		s.Reconcile(t.Context(), Timer)
		if standing := s.Report.Standing(); len(standing) > 0 {
			t.Errorf("problems: %+v", standing)
		}
	})
}
