package importer

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/braintree/lb/config"
)

// checkSpec is a kind of check that litmus_paper 1.6.2 has, and how it is written for lb.
type checkSpec struct {
	role        config.Role
	yamlType    string   // its type in YAML
	class       string   // its class in Ruby
	positional  []string // what its constructor takes by position
	options     []string // what it takes by name
	timeoutKey  string   // which of timeout and timeout_seconds it reads; "" is none
	timeout     time.Duration
	failsInYAML bool // litmus_paper fails on it there
	convert     func(f *checkFields)
}

// specs are litmus_paper's checks (lib/litmus_paper/dependency, metric; configuration_file.rb for YAML). A function, for the
// conversions refer to each other's helpers.
func checkSpecs() []checkSpec {
	return []checkSpec{
		{role: config.Dependency, yamlType: "http", class: "HTTP", positional: []string{"uri"}, options: []string{"content", "method", "ca_file"},
			timeoutKey: "timeout_seconds", timeout: 2 * time.Second, convert: (*checkFields).http},
		{role: config.Dependency, yamlType: "tcp", class: "TCP", positional: []string{"ip", "port"}, options: []string{"input_data", "expected_output"},
			timeoutKey: "timeout_seconds", timeout: 5 * time.Second, failsInYAML: true, convert: (*checkFields).tcp},
		{role: config.Dependency, yamlType: "file_contents", class: "FileContents", positional: []string{"path", "regex"},
			timeoutKey: "timeout", timeout: 5 * time.Second, convert: (*checkFields).fileContents},
		{role: config.Dependency, yamlType: "script", class: "Script", positional: []string{"command"},
			timeoutKey: "timeout", timeout: 5 * time.Second, failsInYAML: true, convert: (*checkFields).script},
		{role: config.Dependency, yamlType: "haproxy_backends", class: "HaproxyBackends", positional: []string{"domain_socket", "cluster"},
			timeoutKey: "timeout_seconds", timeout: 2 * time.Second, convert: (*checkFields).haproxyBackends},

		{role: config.Metric, yamlType: "constant_metric", class: "ConstantMetric", positional: []string{"weight"}, convert: (*checkFields).constant},
		{role: config.Metric, yamlType: "cpu_load", class: "CPULoad", positional: []string{"weight"}, convert: (*checkFields).cpuLoad},
		{role: config.Metric, yamlType: "internet_health", class: "InternetHealth", positional: []string{"weight", "hosts"},
			timeoutKey: "timeout_seconds", timeout: 5 * time.Second, convert: (*checkFields).internetHealth},
		{role: config.Metric, yamlType: "script", class: "Script", positional: []string{"command", "weight"},
			timeoutKey: "timeout", timeout: 5 * time.Second, convert: (*checkFields).scriptMetric},
		{role: config.Metric, yamlType: "tcp_socket_utilization", class: "TcpSocketUtilization", positional: []string{"weight", "address", "maxconn"},
			convert: (*checkFields).tcpSocket},
		{role: config.Metric, yamlType: "unix_socket_utilization", class: "UnixSocketUtilization", positional: []string{"weight", "socket_path", "maxconn"},
			convert: (*checkFields).unixSocket},
		{role: config.Metric, yamlType: "haproxy_backends_health", class: "HaproxyBackendsHealth", positional: []string{"weight", "domain_socket", "cluster"},
			timeoutKey: "timeout_seconds", timeout: 2 * time.Second, failsInYAML: true, convert: (*checkFields).haproxyBackendsHealth},
		{role: config.Metric, yamlType: "big_brother_service", class: "BigBrotherService", positional: []string{"service"}, convert: (*checkFields).bigBrother},
	}
}

func specByYAMLType(role config.Role, name string) (checkSpec, bool) {
	return findSpec(func(s checkSpec) bool { return s.role == role && s.yamlType == name })
}

// specOfClass finds a check by its class, which may be written from the top (LitmusPaper::Metric::CPULoad).
func specByClass(role config.Role, name string) (checkSpec, bool) {
	module := "Metric::"
	if role == config.Dependency {
		module = "Dependency::"
	}
	name, ok := strings.CutPrefix(strings.TrimPrefix(name, "LitmusPaper::"), module)
	if name == "UnixSocketUtilitization" { // its name before it was corrected, which litmus_paper still takes
		name = "UnixSocketUtilization"
	}
	return findSpec(func(s checkSpec) bool { return ok && s.role == role && s.class == name })
}

func findSpec(match func(checkSpec) bool) (checkSpec, bool) {
	all := checkSpecs()
	i := slices.IndexFunc(all, match)
	if i < 0 {
		return checkSpec{}, false
	}
	return all[i], true
}

// fields are what a check is given, and what is made of it.
type checkFields struct {
	at      location
	notes   *notes
	options value // a mapping
	used    []string
	out     inlineTable
	failure string // why it cannot be carried over; "" while it can
}

// fromRuby takes the arguments of Ruby. short is measure_health, which hands on the weight alone.
func (f *checkFields) setRubyArguments(spec checkSpec, args []value, weightOnly bool) string {
	f.options.kind = mapping
	var named value
	if n := len(args); n > 0 && args[n-1].kind == mapping {
		named, args = args[n-1], args[:n-1]
	}
	if weightOnly && len(args) > 0 {
		return "measure_health takes a class and named values: write measure_health_with_args for these"
	}
	if len(args) > len(spec.positional) {
		return fmt.Sprintf("%s takes %d values: %s", spec.class, len(spec.positional), strings.Join(spec.positional, ", "))
	}
	for i, v := range args {
		f.options.set(pair{spec.positional[i], v.at, v})
	}
	for _, p := range named.pairs {
		f.options.set(p)
	}
	if weightOnly && len(spec.positional) > 1 {
		f.notes.add(f.at, "litmus_paper's measure_health hands %s its weight alone, and fails; it is taken as it is meant", spec.class)
	}
	return ""
}

// convert writes the check for lb, and notes what is in it that litmus_paper does not read.
func (f *checkFields) convert(spec checkSpec) string {
	f.out.set("type", "") // replaced by what convert finds
	spec.convert(f)
	f.setTimeout(spec)
	for _, p := range f.options.pairs {
		if !slices.Contains(f.used, p.key) {
			f.notes.add(p.at, "%s is left out: litmus_paper's %s does not read it", p.key, spec.class)
		}
	}
	return f.out.String()
}

// fail says why the check cannot be carried over; the first reason counts.
func (f *checkFields) fail(format string, args ...any) {
	if f.failure == "" {
		f.failure = fmt.Sprintf(format, args...)
	}
}

// kind names the type of lb's check.
func (f *checkFields) setType(name string) { f.out.parts[0] = "type = " + strconv.Quote(name) }

// take reads a value; nil counts as none.
func (f *checkFields) lookup(key string) (value, bool) {
	f.used = append(f.used, key)
	v, ok := f.options.get(key)
	return v, ok && v.kind != null
}

// need reads a value that must be there.
func (f *checkFields) require(key string) value {
	v, ok := f.lookup(key)
	if !ok {
		f.fail("%s is missing", key)
	}
	return v
}

// text reads a string that must be there, and sets lb's key to it.
func (f *checkFields) requireString(key, as string) {
	if v := f.require(key); v.kind == text {
		f.out.set(as, quoted(v.text))
	} else {
		f.fail("%s is %s, not text", key, v.describe())
	}
}

// option reads a string that may be there.
func (f *checkFields) optionalString(key string) (string, bool) {
	v, ok := f.lookup(key)
	if ok && v.kind != text {
		f.fail("%s is %s, not text", key, v.describe())
	}
	return v.text, ok
}

// number reads a whole number that must be there, and sets lb's key to it.
func (f *checkFields) requireInteger(key, as string) {
	v := f.require(key)
	n, ok := v.number()
	if !ok {
		f.fail("%s is %s, not a whole number", key, v.describe())
	}
	f.out.set(as, strconv.FormatInt(n, 10))
}

// regex reads a pattern: a regular expression of Ruby, or a string of one.
func (f *checkFields) setPattern(v value, as string) {
	if v.kind != text && v.kind != pattern {
		f.fail("%s is %s, not a pattern", as, v.describe())
		return
	}
	p, problem := goPattern(v.text, v.flags)
	if problem != "" {
		f.fail("the pattern %s cannot be written for lb: %s", v.describe(), problem)
	}
	f.out.set(as, quoted(p))
}

// rubyOnly finds what Go reads otherwise than Ruby, or not at all, and does not refuse.
var rubyOnlySyntax = regexp.MustCompile(`\(\?[a-z]*[mx]|&&|\\[ZhHRXGK]`)

// goPattern writes a regular expression of Ruby as one of Go. In Ruby, ^ and $ are the beginning and end of a line; . is anything but
// a line's end unless the flag m is given, which is Go's s.
func goPattern(p, flags string) (result, problem string) {
	if at := rubyOnlySyntax.FindString(p); at != "" {
		return "", at + " has another meaning"
	}
	mode := ""
	for _, c := range flags {
		switch c {
		case 'i':
			mode += "i"
		case 'm':
			mode += "s"
		default:
			return "", fmt.Sprintf("it has the flag %c", c)
		}
	}
	if strings.ContainsAny(p, "^$") {
		mode += "m"
	}
	if mode != "" {
		p = "(?" + mode + ")" + p
	}
	if _, err := regexp.Compile(p); err != nil {
		return "", err.Error()
	}
	return p, ""
}

// lbTimeout and lbInterval are lb's defaults (config/defaults.go); what is equal to them need not be written.
const (
	defaultTimeout  = 2 * time.Second
	defaultInterval = 3 * time.Second
)

// timeouts writes the timeout, where it is another than lb's default, and an interval that it fits in.
func (f *checkFields) setTimeout(spec checkSpec) {
	if spec.timeoutKey == "" {
		return
	}
	d := spec.timeout
	for _, key := range []string{"timeout_seconds", "timeout"} {
		v, ok := f.lookup(key)
		if !ok {
			continue
		}
		given, ok := v.duration(time.Second)
		if !ok || given <= 0 {
			f.fail("%s is %s, not a number of seconds above 0", key, v.describe())
			return
		}
		if key != spec.timeoutKey && given != d {
			f.notes.add(f.at, "%s: litmus_paper's %s does not read it and keeps to %s; lb takes the %s that are meant", key, spec.class, spec.timeout, given)
		}
		if d = given; key == spec.timeoutKey {
			f.used = append(f.used, "timeout", "timeout_seconds")
			break
		}
	}
	if d >= defaultInterval {
		f.out.set("interval", duration((d + time.Second).Truncate(time.Second)))
	}
	if d != defaultTimeout {
		f.out.set("timeout", duration(d))
	}
}
