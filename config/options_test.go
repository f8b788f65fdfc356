package config

import (
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func someOptions() Section {
	return NewSection(map[string]any{
		"url": "http://localhost/", "count": 3, "share": 0.5, "strict": true, "every": "2s", "age": time.Minute,
		"hosts": []string{"a", "b"}, "headers": map[string]string{"Host": "x"},
	})
}

func TestOptionsReturnTheirValues(t *testing.T) {
	s := someOptions()
	if got := s.String("url", "none"); got != "http://localhost/" {
		t.Errorf("url is %q", got)
	}
	if got := s.Int("count", 0, 1, 5); got != 3 {
		t.Errorf("count is %d", got)
	}
	if got := s.Float("share", 0); got != 0.5 {
		t.Errorf("share is %v", got)
	}
	if got := s.Float("count", 0); got != 3 {
		t.Errorf("count as a float is %v", got)
	}
	if got := s.Bool("strict", false); !got {
		t.Errorf("strict is %v", got)
	}
	if got := s.Duration("every", 0); got != 2*time.Second {
		t.Errorf("every is %v", got)
	}
	if got := s.Duration("age", 0); got != time.Minute {
		t.Errorf("age is %v", got)
	}
	if got := s.Strings("hosts"); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("hosts is %q", got)
	}
	if got := s.StringMap("headers"); !maps.Equal(got, map[string]string{"Host": "x"}) {
		t.Errorf("headers is %q", got)
	}
	if err := s.Err(); err != nil {
		t.Errorf("errors: %v", err)
	}
}

func TestAbsentOptionsReturnTheDefaults(t *testing.T) {
	for name, s := range map[string]Section{"empty": NewSection(nil), "zero": {}} {
		if s.String("a", "x") != "x" || s.Int("b", 7, 1, 5) != 7 || s.Float("c", 1.5) != 1.5 || !s.Bool("d", true) ||
			s.Duration("e", time.Second) != time.Second || s.Strings("f") != nil || s.StringMap("g") != nil || s.Has("a") {
			t.Errorf("%s: not the default", name)
		}
		if err := s.Err(); err != nil {
			t.Errorf("%s: errors: %v", name, err)
		}
	}
}

func TestOptionsReportEachErrorOnce(t *testing.T) {
	s := NewSection(map[string]any{
		"url": 5, "count": 9, "share": "half", "strict": "yes", "every": 2, "late": "-2s", "hosts": []any{"a", 1},
		"ratio": math.NaN(), "headers": map[string]any{"Host": true}, "colour": "red", "coutn": 1,
	})
	for range 2 { // reading again must change nothing
		if s.String("url", "") == "" {
			s.Mistake("url", "is missing", "a consequence of the wrong type, not to be reported")
		}
		if s.Int("count", 1, 1, 5) != 1 || s.Float("share", 1) != 1 || s.Float("ratio", 1) != 1 || s.Bool("strict", false) || s.Duration("every", time.Second) != time.Second ||
			s.Duration("late", time.Second) != time.Second || len(s.Strings("hosts")) != 1 || len(s.StringMap("headers")) != 0 {
			t.Error("a wrong value does not return the default")
		}
		s.Mistake("path", "is missing", "write one")
	}
	want := strings.Join([]string{
		`colour = "red": is an unknown key: remove it; known here: count, every, headers, hosts, late, ratio, share, strict, url`,
		`count = 9: must be 1 to 5: use a number in that range`,
		`coutn = 1: is an unknown key: did you mean count?`,
		`every = 2: has no unit: use "2s" for seconds, "2ms" for milliseconds`,
		`headers.Host = true: must be a string, not a boolean: write it in quotes`,
		`hosts[1] = 1: must be a string, not a whole number: write it in quotes`,
		`late = "-2s": is negative: use a duration of 0s or more`,
		`path: is missing: write one`,
		`ratio = NaN: must be a finite number: use a number such as 0.5`,
		`share = "half": must be a number, not a string: write it without quotes`,
		`strict = "yes": must be true or false, not a string: write it without quotes`,
		`url = 5: must be a string, not a whole number: write it in quotes: url = "…"`,
	}, "\n")
	for range 2 {
		err := s.Err()
		if err == nil || err.Error() != want {
			t.Errorf("got:\n%v\nwant:\n%s", err, want)
		}
		if _, ok := errors.AsType[Mistakes](err); !ok {
			t.Errorf("the error is %T", err)
		}
	}
}

func TestAWrongTypeIsTheOnlyError(t *testing.T) {
	s := NewSection(map[string]any{"type": "htpp", "url": "x"})
	s.Mistake("type", "is not a check", "write http")
	if err := s.Err(); err == nil || err.Error() != `type = "htpp": is not a check: write http` {
		t.Errorf("got %v", err)
	}
}

func TestHasConsumesNothing(t *testing.T) {
	s := NewSection(map[string]any{"url": "x"})
	if !s.Has("url") || s.Has("uri") {
		t.Error("Has is wrong")
	}
	if s.Err() == nil {
		t.Error("Has consumed the key")
	}
}

func TestOptionsAreEqualByValue(t *testing.T) {
	a, b := someOptions(), someOptions()
	a.String("url", "") // reading does not count
	if !a.Equal(b) || !NewSection(nil).Equal(Section{}) {
		t.Error("equal options differ")
	}
	if a.Equal(NewSection(map[string]any{"url": "http://localhost/"})) || a.Equal(Section{}) {
		t.Error("different options are equal")
	}
}

func TestAnErrorInZeroOptionsPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("the error is lost")
		}
	}()
	Section{}.Mistake("url", "is missing", "write one")
}

func TestPasswordsAreNotShown(t *testing.T) {
	s := NewSection(map[string]any{"url": "http://me:secret@localhost/"})
	s.Mistake("url", "is odd", "write another")
	if err := s.Err(); strings.Contains(err.Error(), "secret") {
		t.Errorf("shows the password: %v", err)
	}
}

func TestLongValuesAreCut(t *testing.T) {
	s := NewSection(map[string]any{"url": strings.Repeat("ä\n", 1000)})
	s.String("url", "")
	s.Mistake("url", "is long", "cut it")
	if got := s.Err().Error(); len(got) > 200 || strings.Contains(got, "\n") {
		t.Errorf("got %q", got)
	}
}
