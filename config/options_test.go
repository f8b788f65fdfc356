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

func someOptions() Options {
	return NewOptions(map[string]any{
		"url": "http://localhost/", "count": 3, "share": 0.5, "strict": true, "every": "2s", "age": time.Minute,
		"hosts": []string{"a", "b"}, "headers": map[string]string{"Host": "x"},
	})
}

func TestOptionsReturnTheirValues(t *testing.T) {
	o := someOptions()
	if got := o.String("url", "none"); got != "http://localhost/" {
		t.Errorf("url is %q", got)
	}
	if got := o.Int("count", 0, 1, 5); got != 3 {
		t.Errorf("count is %d", got)
	}
	if got := o.Float("share", 0); got != 0.5 {
		t.Errorf("share is %v", got)
	}
	if got := o.Float("count", 0); got != 3 {
		t.Errorf("count as a float is %v", got)
	}
	if got := o.Bool("strict", false); !got {
		t.Errorf("strict is %v", got)
	}
	if got := o.Duration("every", 0); got != 2*time.Second {
		t.Errorf("every is %v", got)
	}
	if got := o.Duration("age", 0); got != time.Minute {
		t.Errorf("age is %v", got)
	}
	if got := o.Strings("hosts"); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("hosts is %q", got)
	}
	if got := o.StringMap("headers"); !maps.Equal(got, map[string]string{"Host": "x"}) {
		t.Errorf("headers is %q", got)
	}
	if err := o.Err(); err != nil {
		t.Errorf("errors: %v", err)
	}
}

func TestAbsentOptionsReturnTheDefaults(t *testing.T) {
	for name, o := range map[string]Options{"empty": NewOptions(nil), "zero": {}} {
		if o.String("a", "x") != "x" || o.Int("b", 7, 1, 5) != 7 || o.Float("c", 1.5) != 1.5 || !o.Bool("d", true) ||
			o.Duration("e", time.Second) != time.Second || o.Strings("f") != nil || o.StringMap("g") != nil || o.Has("a") {
			t.Errorf("%s: not the default", name)
		}
		if err := o.Err(); err != nil {
			t.Errorf("%s: errors: %v", name, err)
		}
	}
}

func TestOptionsReportEachErrorOnce(t *testing.T) {
	o := NewOptions(map[string]any{
		"url": 5, "count": 9, "share": "half", "strict": "yes", "every": 2, "late": "-2s", "hosts": []any{"a", 1},
		"ratio": math.NaN(), "headers": map[string]any{"Host": true}, "colour": "red", "coutn": 1,
	})
	for range 2 { // reading again must change nothing
		if o.String("url", "") == "" {
			o.Invalid("url", "is missing", "a consequence of the wrong type, not to be reported")
		}
		if o.Int("count", 1, 1, 5) != 1 || o.Float("share", 1) != 1 || o.Float("ratio", 1) != 1 || o.Bool("strict", false) ||
			o.Duration("every", time.Second) != time.Second ||
			o.Duration("late", time.Second) != time.Second || len(o.Strings("hosts")) != 1 || len(o.StringMap("headers")) != 0 {
			t.Error("a wrong value does not return the default")
		}
		o.Invalid("path", "is missing", "write one")
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
		err := o.Err()
		if err == nil || err.Error() != want {
			t.Errorf("got:\n%v\nwant:\n%s", err, want)
		}
		if _, ok := errors.AsType[Diagnostics](err); !ok {
			t.Errorf("the error is %T", err)
		}
	}
}

func TestAWrongTypeIsTheOnlyError(t *testing.T) {
	o := NewOptions(map[string]any{"type": "htpp", "url": "x"})
	o.Invalid("type", "is not a check", "write http")
	if err := o.Err(); err == nil || err.Error() != `type = "htpp": is not a check: write http` {
		t.Errorf("got %v", err)
	}
}

func TestHasConsumesNothing(t *testing.T) {
	o := NewOptions(map[string]any{"url": "x"})
	if !o.Has("url") || o.Has("uri") {
		t.Error("Has is wrong")
	}
	if o.Err() == nil {
		t.Error("Has consumed the key")
	}
}

func TestOptionsAreEqualByValue(t *testing.T) {
	a, b := someOptions(), someOptions()
	a.String("url", "") // reading does not count
	if !a.Equal(b) || !NewOptions(nil).Equal(Options{}) {
		t.Error("equal options differ")
	}
	if a.Equal(NewOptions(map[string]any{"url": "http://localhost/"})) || a.Equal(Options{}) {
		t.Error("different options are equal")
	}
}

func TestAnErrorInZeroOptionsPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("the error is lost")
		}
	}()
	Options{}.Invalid("url", "is missing", "write one")
}

func TestPasswordsAreNotShown(t *testing.T) {
	o := NewOptions(map[string]any{"url": "http://me:secret@localhost/"})
	o.Invalid("url", "is odd", "write another")
	if err := o.Err(); strings.Contains(err.Error(), "secret") {
		t.Errorf("shows the password: %v", err)
	}
}

func TestLongValuesAreCut(t *testing.T) {
	o := NewOptions(map[string]any{"url": strings.Repeat("ä\n", 1000)})
	o.String("url", "")
	o.Invalid("url", "is long", "cut it")
	if got := o.Err().Error(); len(got) > 200 || strings.Contains(got, "\n") {
		t.Errorf("got %q", got)
	}
}
