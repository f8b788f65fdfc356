package agent

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/braintree/lb/agent/server"
	"github.com/braintree/lb/netx/audit"
	"github.com/braintree/lb/netx/golden"
)

// auditLog reads the audit log of an agent with its files in dir.
func auditLog(t *testing.T, dir string) (entries []audit.Entry) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "data", audit.FileName))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var e audit.Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		entries = append(entries, e)
	}
	return entries
}

func TestAForceMayExpire(t *testing.T) {
	b := newBench(t, configIn(shortDir(t), webapp("true")))
	for _, tc := range []struct {
		name, target, body string
		want               time.Duration
	}{
		{"in the form", "/webapp/down", "reason=x&for=2h", 2 * time.Hour},
		{"in the query", "/webapp/down?for=3d", "", 72 * time.Hour},
		{"none", "/webapp/down", "reason=x", 0},
		{"empty", "/webapp/down", "reason=x&for=", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := time.Now()
			r := b.do(server.Socket, "POST", tc.target, tc.body)
			body := bodyOf(t, r)
			f, ok := b.changes.Store.InEffect("webapp", time.Now())
			if r.StatusCode != 201 || !ok {
				t.Fatalf("%d %q", r.StatusCode, body)
			}
			if tc.want == 0 {
				if body != "File created" || !f.Expires.IsZero() {
					t.Errorf("answer %q, expires at %s", body, f.Expires)
				}
				return
			}
			end := f.Expires.Format(time.RFC3339)
			if d := f.Expires.Sub(before) - tc.want; d < -time.Second || d > patience {
				t.Errorf("it expires %s too late", d)
			}
			if want := "File created\nIt ends by itself at " + end + ".\n"; body != want {
				t.Errorf("answer %q, want %q", body, want)
			}
			if body := bodyOf(t, b.do(server.TCP, "GET", "/webapp/status", "")); !strings.Contains(body, "\nForced Until: "+end+"\n") {
				t.Errorf("status %q", body)
			}
			if body := bodyOf(t, b.do(server.TCP, "GET", "/", "")); !strings.Contains(body, " Until: "+end+"\n") {
				t.Errorf("list %q", body)
			}
			if body := bodyOf(t, b.do(server.TCP, "GET", "/webapp/status", "", "Accept",
				"application/json")); !strings.Contains(body, `"expires": "`+f.Expires.Format(time.RFC3339Nano)) {
				t.Errorf("JSON %s", body)
			}
		})
	}
	for _, bad := range []string{"soon", "-1h", "0s", "400d"} {
		r := b.do(server.Socket, "POST", "/webapp/up", "reason=x&for="+bad)
		if body := bodyOf(t, r); r.StatusCode != 400 || !strings.Contains(body, "such as 90m, 2h or 3d") {
			t.Errorf("for=%s: %d %q", bad, r.StatusCode, body)
		}
	}
	if r := b.do(server.TCP, "GET", "/webapp/status", ""); r.Header.Get("X-Health-Forced") != "down" {
		t.Error("a refused force is in effect")
	}
}

func TestAForceExpiresOnceAndStaysExpired(t *testing.T) {
	dir := shortDir(t)
	b := newBench(t, configIn(dir, webapp("true")))
	b.do(server.Socket, "POST", "/webapp/health", "reason=busy&health=42&for=2h&who=kim")
	now := time.Now()
	for _, later := range []time.Duration{time.Hour, 3 * time.Hour, 3 * time.Hour, 4 * time.Hour} {
		b.changes.Expire(now.Add(later))
	}
	// The clock is set back to before the expiry.
	if r := b.do(server.TCP, "GET", "/webapp/status", ""); r.Header.Get("X-Health") != "85" || r.Header.Get("X-Health-Forced") != "" {
		t.Errorf("X-Health %s, forced %q", r.Header.Get("X-Health"), r.Header.Get("X-Health-Forced"))
	}
	if b.log.Count("force expired", "service=webapp", "kind=health", "reason=busy", "who=kim") != 1 {
		t.Errorf("log:\n%s", b.log)
	}
	entries := auditLog(t, dir)
	if len(entries) != 2 || entries[1].Change != audit.Expired || *entries[1].Value != 42 || entries[1].Who != "kim" ||
		entries[1].Peer != "" || !entries[1].SetAt.Equal(entries[0].Time) {
		t.Errorf("audit log: %+v", entries)
	}
}

func TestForcesExpireWhileTheAgentIsStopped(t *testing.T) {
	dir := shortDir(t)
	b, stop := running(t, configIn(dir, webapp("true")))
	b.do(server.Socket, "POST", "/webapp/down", "reason=short&for=1s")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the force has expired", func() bool { return b.changes.Store.All()[0].Expired(time.Now()) })
	b, _ = running(t, configIn(dir, webapp("true")))
	if r := b.do(server.TCP, "GET", "/webapp/status", ""); r.Header.Get("X-Health") != "85" {
		t.Errorf("X-Health %s", r.Header.Get("X-Health"))
	}
	eventually(t, "the expiry is logged", func() bool { return b.log.Count("force expired", "reason=short") == 1 })
}

func TestEveryChangeIsInTheAuditLog(t *testing.T) {
	dir := shortDir(t)
	b := newBench(t, configIn(dir, webapp("true")))
	b.do(server.Socket, "POST", "/webapp/down", "reason=two%0Alines&who=kim")
	b.do(server.Socket, "POST", "/nope/down", "reason=x")
	b.do(server.TCP, "POST", "/webapp/up", "reason=x")
	b.do(server.Socket, "DELETE", "/webapp/down?who=ann&reason=done", "")
	b.do(server.Socket, "DELETE", "/webapp/down?who=ann", "")
	b.do(server.Socket, "POST", "/health", "health=7")
	var got strings.Builder
	for _, e := range auditLog(t, dir) {
		e.Time, e.SetAt = time.Time{}, e.SetAt.Truncate(time.Hour)
		if !e.SetAt.IsZero() {
			e.SetAt = time.Time{}.Add(1)
		}
		line, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		got.Write(append(line, '\n'))
	}
	golden.Compare(t, "testdata/audit_log.txt", got.String())
}

func TestAChangeThatCannotBeRecordedIsMadeAndReported(t *testing.T) {
	dir := shortDir(t)
	b := newBench(t, configIn(dir, webapp("true")))
	if err := os.MkdirAll(filepath.Join(dir, "data", audit.FileName),
		0o700); err != nil { // nothing can be written there, as on a full disk
		t.Fatal(err)
	}
	r := b.do(server.Socket, "POST", "/webapp/down", "reason=x&who=kim")
	const made = "File created\nThe change was made, but: append to the audit log "
	if body := bodyOf(t, r); r.StatusCode != 201 || !strings.HasPrefix(body, made) {
		t.Errorf("%d %q", r.StatusCode, body)
	}
	r = b.do(server.Socket, "DELETE", "/webapp/down?who=kim", "", "Accept", "application/json")
	if body := bodyOf(t, r); r.StatusCode != 200 || !strings.Contains(body, `"audit_error": "append to the audit log `) {
		t.Errorf("%d %s", r.StatusCode, body)
	}
	if b.log.Count("level=ERROR", "missing from the audit log", "service=webapp", "who=kim", "reason=x") != 1 {
		t.Errorf("log:\n%s", b.log)
	}
}

func TestChangesAnswerInJSON(t *testing.T) {
	b := newBench(t, configIn(shortDir(t), webapp("true")))
	var s strings.Builder
	for _, change := range [][3]string{
		{"POST", "/webapp/health", "reason=a&health=42&who=kim&for=2h"},
		{"DELETE", "/webapp/health?who=ann", ""},
		{"POST", "/down", "reason=all&who=kim"},
	} {
		r := b.do(server.Socket, change[0], change[1], change[2], "Accept", "application/json")
		s.WriteString("> " + change[0] + " " + change[1] + "\n< " + r.Status + "\n" + bodyOf(t, r) + "\n")
	}
	golden.Compare(t, "testdata/change_json.txt", regexp.MustCompile(`"(at|expires)": "[^"]+"`).ReplaceAllString(s.String(),
		`"$1": "TIME"`))
}

// A clock set forward ends a force at once. A clock set back makes it last longer, but does not bring it back
// once it has expired.
func TestAForceFollowsTheWallClock(t *testing.T) {
	b := newBench(t, configIn(shortDir(t), webapp("true")))
	b.do(server.Socket, "POST", "/webapp/down", "reason=x&for=2h")
	web, now := b.services.Current().ByName["webapp"], time.Now().Round(0)
	for _, tc := range []struct {
		name string
		now  time.Time
		want int
	}{
		{"unchanged", now, 0},
		{"set back by a year", now.AddDate(-1, 0, 0), 0},
		{"set forward by an hour", now.Add(time.Hour), 0},
		{"set forward by a day", now.AddDate(0, 0, 1), 85},
	} {
		v := b.services.View(web, tc.now)
		if tc.want == 0 && (v.Forced == nil || v.Health != 0) || tc.want > 0 && v.Forced != nil {
			t.Errorf("%s: forced %v, health %d", tc.name, v.Forced, v.Health)
		}
	}
	b.changes.Expire(now.AddDate(0, 0, 1))
	if v := b.services.View(web, now); v.Forced != nil || v.Health != 85 {
		t.Errorf("corrected: forced %v, health %d", v.Forced, v.Health)
	}
}
