package agentcheck

import (
	"bytes"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/braintree/lb/agent/score"
)

// The replies are recorded from litmus-agent-check, except where it is wrong: it reports ready and up at a
// health of 0 or less.
func TestReply(t *testing.T) {
	for _, tc := range []struct {
		name  string
		state State
		want  string
	}{
		{"up", State{85, 85, ""}, "ready\tup\t85%\r\n"},
		{"the minimum", State{1, 1, ""}, "ready\tup\t1%\r\n"},
		{"measured above 100", State{150, 150, ""}, "ready\tup\t100%\r\n"},
		{"measured 0", State{0, 0, ""}, "down\t0%\r\n"},
		{"forced down", State{0, 85, score.Down}, "drain\t0%\r\n"},
		{"forced down, dependency failing", State{0, 0, score.Down}, "drain\t0%\r\n"},
		{"forced up", State{100, 85, score.Up}, "ready\tup\t100%\r\n"},
		{"forced up, dependency failing", State{100, 0, score.Up}, "ready\tup\t100%\r\n"},
		{"forced health 42", State{42, 85, score.Health}, "ready\tup\t42%\r\n"},
		{"forced health 0", State{0, 85, score.Health}, "drain\t0%\r\n"},
		{"forced health below 0", State{-5, 85, score.Health}, "drain\t0%\r\n"},
		{"forced health 42, dependency failing", State{0, 0, score.Health}, "down\t0%\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.state.reply(); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

// The formats are from the transcript.
func TestANameEndsWithLFOrCRLFOrTheStream(t *testing.T) {
	for sent, want := range map[string]string{
		"webapp\n":                       "webapp",
		"webapp\r\n":                     "webapp",
		"webapp":                         "webapp",
		"webapp\r":                       "webapp",
		"webapp\nzero\n":                 "webapp",
		"we:b_a.p-p\n":                   "we:b_a.p-p",
		strings.Repeat("a", 256) + "\n":  strings.Repeat("a", 256),
		strings.Repeat("a", 257) + "\n":  "",
		strings.Repeat("a", 5000) + "\n": "",
		"":                               "",
		"\n":                             "",
		"\r\n":                           "",
		"webapp \n":                      "",
		" webapp\n":                      "",
		"webapp\r\r\n":                   "",
		"web/app\n":                      "",
		"../etc/passwd\n":                "",
		"GET / HTTP/1.0\r\n\r\n":         "",
		"\xff\xfe\n":                     "",
		"webapp\x00\n":                   "",
		"wébapp\n":                       "",
	} {
		for _, r := range []struct {
			name string
			read *bytes.Reader
			slow bool
		}{{"in one piece", bytes.NewReader([]byte(sent)), false}, {"byte by byte", bytes.NewReader([]byte(sent)), true}} {
			var line []byte
			var err error
			if r.slow {
				line, err = readLine(iotest.OneByteReader(r.read))
			} else {
				line, err = readLine(r.read)
			}
			if err != nil {
				t.Fatalf("%.40q, %s: %v", sent, r.name, err)
			}
			got, err := parseName(line)
			if got != want || (err == nil) != (want != "") {
				t.Errorf("%.40q, %s: %q, %v; want %q", sent, r.name, got, err, want)
			}
		}
	}
}

// FuzzName sends any bytes. The answer is always one valid line, and only valid names are looked up.
func FuzzName(f *testing.F) {
	for _, sent := range []string{"webapp\n", "webapp\r\n", "webapp", "\n", "../etc/passwd\n", "GET / HTTP/1.0\r\n\r\n", "\xff\xfe\n",
		strings.Repeat("a", 300)} {
		f.Add([]byte(sent))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		found := ""
		s := New(Options{Find: func(service string) (State, bool) {
			found = service
			return State{Health: 85, Measured: 85}, service == "webapp"
		}})
		answer, err := s.answer(bytes.NewReader(sent), "")
		if err != nil {
			t.Fatal(err)
		}
		if found != "" && (!names.MatchString(found) || !bytes.HasPrefix(sent, []byte(found))) {
			t.Errorf("%q was looked up for %q", found, sent)
		}
		word, reason, _ := strings.Cut(strings.TrimSuffix(answer, "\r\n"), " #")
		switch {
		case found == "webapp" && answer == "ready\tup\t85%\r\n":
		case found != "webapp" && word == "fail" && reason != "" && len(answer) < 400:
		default:
			t.Errorf("the answer to %q is %q", sent, answer)
		}
		if strings.Count(answer, "\n") != 1 || !strings.HasSuffix(answer, "\r\n") {
			t.Errorf("%q is not one line", answer)
		}
	})
}
