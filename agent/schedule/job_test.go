package schedule

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/agent/agenttest"
	"github.com/braintree/lb/agent/check"
	"github.com/braintree/lb/agent/score"
	"github.com/braintree/lb/config"
)

func TestAHungCheckEndsAtItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &agenttest.Check{Do: func(ctx context.Context, _ int) check.Result {
			<-ctx.Done()
			return check.Result{Detail: ctx.Err().Error()}
		}}
		j, _ := startJob(t, 3*time.Second, time.Second, c)
		time.Sleep(time.Second)
		synctest.Wait()
		reading, result := j.Reading()
		if reading.OK || result == nil || result.Detail != context.DeadlineExceeded.Error() {
			t.Errorf("after its timeout: %+v", result)
		}
	})
}

func TestACheckThatIgnoresItsTimeoutNeverOverlapsAndGoesStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &agenttest.Check{Do: func(_ context.Context, n int) check.Result {
			if n == 2 {
				time.Sleep(20 * time.Second)
			}
			return check.Result{OK: true}
		}}
		j, _ := startJob(t, 3*time.Second, time.Second, c)
		<-j.firstRun
		health := func() int {
			reading, _ := j.Reading()
			return score.Measured(time.Now(), []score.Reading{reading}, nil)
		}
		if got := health(); got != 100 {
			t.Fatalf("health %d at first", got)
		}
		time.Sleep(9 * time.Second)
		if got := health(); got != 100 {
			t.Errorf("health %d when the result is three intervals old", got)
		}
		time.Sleep(time.Millisecond)
		reading, _ := j.Reading()
		if got := health(); got != 0 || !reading.Stale(time.Now()) {
			t.Errorf("health %d when the result is older than three intervals", got)
		}
		time.Sleep(j.phase + 20*time.Second)
		synctest.Wait()
		if got := health(); got != 100 {
			t.Errorf("health %d after the check recovered", got)
		}
		if c.Overlapped.Load() {
			t.Error("two runs overlapped")
		}
		// Runs that fell due during the long run are skipped, not made up for.
		if n, most := int(c.Runs.Load()), 2+1+int((9*time.Second+j.phase)/(3*time.Second)); n > most {
			t.Errorf("%d runs, want at most %d", n, most)
		}
	})
}

func TestChangesOfACheckAreLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &agenttest.Check{Do: func(_ context.Context, n int) check.Result {
			return check.Result{OK: n < 4 || n > 7, Detail: fmt.Sprintf("run %d", n)}
		}}
		_, log := startJob(t, 3*time.Second, time.Second, c)
		time.Sleep(time.Minute)
		synctest.Wait()
		failed, recovered := log.Count("check failed", "service=web", `cause="run 4"`), log.Count("check recovered", `cause="run 8"`)
		if failed != 1 || recovered != 1 || log.Count("") != 2 {
			t.Errorf("the log should have one line for each of two changes:\n%s", log)
		}
	})
}

func TestOnlyAResultThatMayChangeTheHealthIsReported(t *testing.T) {
	for _, tt := range []struct {
		name     string
		results  []check.Result
		reported string // 1 or 0 for each run
	}{
		{"the first result, passing", []check.Result{{OK: true, Value: 1}, {OK: true, Value: 1}}, "10"},
		{"the first result, failing", []check.Result{{}, {}}, "10"},
		{"another value", []check.Result{{OK: true, Value: 1}, {OK: true, Value: 2}, {OK: true, Value: 2}}, "110"},
		{"failing and recovered", []check.Result{{OK: true}, {}, {}, {OK: true}}, "1101"},
		{"another detail", []check.Result{{OK: true, Detail: "1 of 9"}, {OK: true, Detail: "2 of 9"}}, "10"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &agenttest.Check{Do: func(_ context.Context, n int) check.Result { return tt.results[n-1] }}
			j := NewJob("web", config.Check{Interval: time.Second, Timeout: time.Second}, c, "app01", 0)
			reported, now := "", "0"
			j.changed = func(string) { now = "1" }
			for range tt.results {
				now = "0"
				j.RunOnce(t.Context(), new(agenttest.Log).Logger())
				reported += now
			}
			if reported != tt.reported {
				t.Errorf("reported %s, want %s", reported, tt.reported)
			}
		})
	}
}

func TestTimeoutsAreCountedAmongTheFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &agenttest.Check{Do: func(ctx context.Context, n int) check.Result {
			if n == 1 {
				return check.Result{Detail: "refused"}
			}
			if n == 2 {
				<-ctx.Done()
				return check.Result{Detail: "timeout"}
			}
			return check.Result{OK: true}
		}}
		j, _ := startJob(t, 3*time.Second, time.Second, c)
		time.Sleep(12 * time.Second)
		synctest.Wait()
		if n := j.Counts(); n.Runs < 4 || n.Failures != 2 || n.Timeouts != 1 {
			t.Errorf("%+v; want 4 or 5, 2, 1", n)
		}
	})
}

func TestACancelledJobStartsNoRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := agenttest.Passing()
		j := NewJob("web", config.Check{Interval: time.Second, Timeout: time.Second}, c, "app01", 0)
		j.stop()
		<-j.done
		var pool pool
		again := j.start(t.Context(), &pool, new(agenttest.Log).Logger())
		synctest.Wait()
		if n := c.Runs.Load(); again || n != 0 {
			t.Errorf("it ran %d times, and is to run again: %v", n, again)
		}
	})
}

func TestAJobMatchesOnlyItsOwnConfiguration(t *testing.T) {
	cfg := func(change func(*config.Check)) config.Check {
		c := config.Check{
			Role: config.Metric, Type: "script", Interval: time.Hour, Timeout: 10 * time.Second, Weight: 50,
			Options: config.NewOptions(map[string]any{"command": "echo 1"}),
		}
		change(&c)
		return c
	}
	j := NewJob("web", cfg(func(*config.Check) {}), &agenttest.Check{}, "app01", 0)
	if !j.Matches("web", cfg(func(*config.Check) {})) || j.Matches("api", cfg(func(*config.Check) {})) {
		t.Error("it should match its configuration in its own service only")
	}
	for what, change := range map[string]func(*config.Check){
		"role":     func(c *config.Check) { c.Role = config.Dependency },
		"type":     func(c *config.Check) { c.Type = "nagios" },
		"interval": func(c *config.Check) { c.Interval++ },
		"timeout":  func(c *config.Check) { c.Timeout++ },
		"weight":   func(c *config.Check) { c.Weight++ },
		"options":  func(c *config.Check) { c.Options = config.NewOptions(map[string]any{"command": "echo 2"}) },
	} {
		if j.Matches("web", cfg(change)) {
			t.Errorf("it matches with another %s", what)
		}
	}
}
