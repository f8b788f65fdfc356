package balancer

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/balancer/api"
)

func TestProblemsAreShownEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.boot(webapp("web", 7, 1), webapp("idle", 8, 1))
		const absent, forward = "10.9.9.9 is not on this machine", "packets are not forwarded"
		found := func(problems ...api.Problem) {
			if err := r.engine.do(t.Context(), func(context.Context) {
				r.engine.rec.Report.Problems(time.Now(), "test", problems)
			}); err != nil {
				t.Fatal(err)
			}
		}
		found(api.Problem{Kind: "vip_absent", Cluster: "web", Subject: "10.9.9.9", Text: absent, Fix: "add it"},
			api.Problem{Kind: "ip_forward", Text: forward, Fix: "set it"})
		for _, want := range []struct{ path, accept, text string }{
			{"/", "text/html", absent + " → add it"},
			{"/", "text/html", forward + " → set it"},
			{"/cluster/web", "application/json", `"text":"` + absent + `","fix":"add it"`},
			{"/cluster/web", "application/json", `"text":"` + forward},
			{"/cluster/idle", "application/json", `"text":"` + forward},
			{"/events?cluster=web", "application/json", `"text":"problem found: ` + absent},
			{"/metrics", "", `lb_balancer_problems{cluster="",kind="ip_forward"} 1`},
			{"/metrics", "", `lb_balancer_problems{cluster="web",kind="vip_absent"} 1`},
			{"/metrics", "", `lb_balancer_cluster_trouble{cluster="idle"} 1`},
		} {
			answer := strings.ReplaceAll(roundTrip(r.handler(), "GET", want.path, want.accept), `\"`, `"`)
			if !strings.Contains(answer, want.text) {
				t.Errorf("GET %s (%s) does not show %s:\n%s", want.path, want.accept, want.text, answer)
			}
		}
		if idle := r.status("idle"); strings.Contains(idle.Problems[0].Text, absent) {
			t.Errorf("cluster idle shows a problem of cluster web: %v", idle.Problems)
		}
		found()
		if web := r.status("web"); web.Trouble() {
			t.Errorf("after all are solved: %v", web.Problems)
		}
	})
}
