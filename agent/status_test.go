package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/agent/agenttest"
	"github.com/braintree/lb/agent/schedule"
	"github.com/braintree/lb/agent/service"

	"github.com/google/go-cmp/cmp"

	"github.com/braintree/lb/agent/check"
	"github.com/braintree/lb/agent/force"
	"github.com/braintree/lb/agent/score"
	"github.com/braintree/lb/config"
)

// TestAPageThatIsKeptIsTrue compares it with a new one all the time, while results come, change, fail to come and grow old, and forces
// come, go and end by themselves.
func TestAPageThatIsKeptIsTrue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		results, rand := rand.New(rand.NewPCG(1, 2)), rand.New(rand.NewPCG(3, 4))
		b := newBubble(t, time.Second, &agenttest.Check{Do: func(ctx context.Context, _ int) check.Result {
			if results.IntN(8) == 0 {
				time.Sleep(time.Duration(results.IntN(8)) * time.Second) // it does not heed its timeout
			}
			return check.Result{OK: results.IntN(3) > 0}
		}})
		page := (*b.pages.Load())["web"]
		made, bodies := map[*statusPage]bool{}, map[string]bool{}
		const steps = 5000
		for range steps {
			f := force.Force{Service: "web", Kind: score.Kinds()[rand.IntN(3)], Value: rand.IntN(101), Reason: "test", Who: "kim", At: time.Now()}
			if rand.IntN(4) == 0 {
				f.Service = ""
			}
			switch rand.IntN(60) {
			case 0:
				f.Expires = time.Now().Add(time.Duration(1+rand.IntN(5000)) * time.Millisecond)
				if err := b.forces.Put(f); err != nil {
					t.Fatal(err)
				}
			case 1:
				if _, _, err := b.forces.Delete(f.Service, f.Kind); err != nil {
					t.Fatal(err)
				}
			case 2:
				if _, err := b.forces.Expire(time.Now()); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
			synctest.Wait()
			now := time.Now()
			kept, anew := b.statusPage(page, now), b.newStatusPage(b.services.View(page.service, now), now)
			if diff := cmp.Diff(string(anew.body), string(kept.body)) + cmp.Diff(anew.header, kept.header); diff != "" || kept.status != anew.status {
				t.Fatalf("the page is %d, want %d (-want +kept):\n%s", kept.status, anew.status, diff)
			}
			made[kept], bodies[string(kept.body)] = true, true
		}
		if len(made) > steps/2 || len(bodies) < 10 {
			t.Errorf("%d pages were made, %d of them different, in %d steps", len(made), len(bodies), steps)
		}
	})
}

// aDate is what differs between two answers.
var aDate = regexp.MustCompile(`\r\nDate: [A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT\r\n`)

// bytesOf gives an answer as it came, without its date.
func bytesOf(t *testing.T, b *bench, request string) string {
	t.Helper()
	c := dial(t, b)
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil || !aDate.Match(answer) {
		t.Fatalf("%q: %v", answer, err)
	}
	return aDate.ReplaceAllString(string(answer), "\r\n")
}

func TestTheFastPathAnswersAsNetHTTPDoes(t *testing.T) {
	dir := shortDir(t)
	b, _ := running(t, configIn(dir, append(transcribed("/bin/true"), config.Service{Name: "with space", Metrics: []config.Check{constant(7)}},
		config.Service{Name: "a.b-c_d~E", Metrics: []config.Check{constant(7)}})...))
	same := func(path string, quickly bool) {
		t.Helper()
		for _, request := range []string{
			"GET " + path + " HTTP/1.1\r\nHost: app01\r\nConnection: close\r\n",
			"GET " + path + " HTTP/1.0\r\nUser-Agent: x\r\n",
		} {
			before := b.answered(t)
			quick := bytesOf(t, b, request+"\r\n")
			if got := b.answered(t) - before; got != 1 {
				t.Errorf("%s: %d answers were counted", path, got)
			}
			slow := bytesOf(t, b, request+"X-Unknown: this is for net/http\r\n\r\n")
			if diff := cmp.Diff(slow, quick); diff != "" {
				t.Errorf("%q (-net/http +fast path):\n%s", request, diff)
			}
		}
		if got := b.findPage([]byte(path), time.Now()) != nil; got != quickly {
			t.Errorf("%s is answered by the fast path: %v", path, got)
		}
	}
	for _, path := range []string{"/webapp/status", "/zero/status", "/empty/status", "/dependencies/status", "/a.b-c_d~E/status"} {
		same(path, true)
	}
	for _, path := range []string{"/nope/status", "/with%20space/status", "//webapp/status", "/webapp/status/", "/status", "/", "/webapp", "/webapp/metrics"} {
		same(path, false)
	}
	for _, f := range []string{"down?reason=upgrade", "up?reason=%c3%a9", "health?reason=ceiling&health=42&for=2h"} {
		if r := b.ask(overSocket, "POST", "/webapp/"+f, ""); r.StatusCode != 201 {
			t.Fatal(r.Status, bodyOf(t, r))
		}
		same("/webapp/status", true)
		same("/zero/status", true)
	}
}

// answered is how many answers were counted, but for those to this question.
func (b *bench) answered(t *testing.T) int {
	t.Helper()
	n := 0
	for _, found := range regexp.MustCompile(`(?m)^lb_agent_http_requests_total\{code="[0-9]+",page="(.*)"\} ([0-9]+)$`).FindAllStringSubmatch(bodyOf(t, b.ask(overTCP, "GET", "/metrics", "")), -1) {
		if count, err := strconv.Atoi(found[2]); found[1] != "metrics" && err == nil {
			n += count
		}
	}
	return n
}

// TestThePageShowsTheFiguresOfASocketAsTheyAreNow: litmus_paper's line has them, and programs read it. What logs and Prometheus call the check stays the
// same, or each figure would begin a new series.
func TestThePageShowsTheFiguresOfASocketAsTheyAreNow(t *testing.T) {
	dir := shortDir(t)
	path := filepath.Join(dir, "web.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	b, _ := running(t, configIn(dir, config.Service{Name: "web", Metrics: []config.Check{
		metric("unix_socket_utilization", 90, map[string]any{"path": path, "maxconn": 10}),
	}}))
	const name, figures = "Metric::UnixSocketUtilization(weight: 90, maxconn: 10, ", "active: %d, queued: %d, utilization: %d, "
	for queued := range 3 {
		b.services.Current().ByName["web"].Metrics[0].RunOnce(t.Context(), b.Agent.log)
		want := name + fmt.Sprintf(figures, 0, queued, 10*queued) + "path: " + path + "): "
		if page := bodyOf(t, b.ask(overTCP, "GET", "/web/status", "")); !strings.Contains(page, want) {
			t.Errorf("the page has no %q:\n%s", want, page)
		}
		client, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
	}
	if page, label := bodyOf(t, b.ask(overTCP, "GET", "/metrics", "")), `check="`+name+"path: "+path+`)"`; !strings.Contains(page, label) {
		t.Errorf("no series has %s", label)
	}
}

func TestAgesInJSONHaveWholeMilliseconds(t *testing.T) {
	now := time.Now()
	for ms := range 3000 {
		c := service.Check{
			Job: &schedule.Job{}, Result: &schedule.Result{},
			Reading: score.Reading{At: now.Add(-time.Duration(ms)*time.Millisecond - 499*time.Microsecond)},
		}
		age, err := json.Marshal(result(c, now).Age)
		if want := strconv.FormatFloat(float64(ms)/1000, 'f', -1, 64); err != nil || string(age) != want {
			t.Fatalf("an age of %d ms is %s, %v", ms, age, err)
		}
	}
}

// TestAPageHoldsUntilTheFirstOfItsResultsIsStale, and no nanosecond longer, in whichever order they grow old.
func TestAPageHoldsUntilTheFirstOfItsResultsIsStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, now := newBubble(t, time.Hour, agenttest.Passing()), time.Now()
		for _, intervals := range [][]time.Duration{{time.Second, time.Hour}, {time.Hour, time.Second}} {
			var v service.View
			for _, interval := range intervals {
				j := schedule.NewJob("web", config.Check{Interval: interval, Timeout: interval}, agenttest.Passing(), "app01", 0)
				j.RunOnce(t.Context(), b.log)
				reading, r := j.Reading()
				v.Checks = append(v.Checks, service.Check{Job: j, Reading: reading, Result: r})
			}
			p, stale := b.newStatusPage(v, now), now.Add(3*time.Second+1)
			if !p.valid(stale.Add(-1)) || p.valid(stale) {
				t.Errorf("intervals %s: just before the first is stale it holds: %v, then: %v; want true, then false",
					intervals, p.valid(stale.Add(-1)), p.valid(stale))
			}
		}
	})
}
