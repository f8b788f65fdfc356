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

// checkSpec describes a check type of litmus_paper 1.6.2 and how to convert it.
type checkSpec struct {
	role        config.Role
	yamlType    string   // the type in YAML
	class       string   // the class in Ruby
	positional  []string // positional parameters of the constructor
	options     []string // named parameters
	timeoutKey  string   // timeout or timeout_seconds, whichever the check reads; "" if neither
	timeout     time.Duration
	failsInYAML bool // litmus_paper raises an error for this type in a YAML file
	convert     func(f *checkFields)
}

// checkSpecs returns litmus_paper's check types (lib/litmus_paper/dependency, metric; configuration_file.rb for YAML). It is a function
// because a package variable would refer to itself through the convert functions.
func checkSpecs() []checkSpec {
	return []checkSpec{
		{role: config.Dependency, yamlType: "http", class: "HTTP",
			positional: []string{"uri"}, options: []string{"content", "method", "ca_file"},
			timeoutKey: "timeout_seconds", timeout: 2 * time.Second, convert: (*checkFields).http},
		{role: config.Dependency, yamlType: "tcp", class: "TCP",
			positional: []string{"ip", "port"}, options: []string{"input_data", "expected_output"},
			timeoutKey: "timeout_seconds", timeout: 5 * time.Second, failsInYAML: true, convert: (*checkFields).tcp},
		{role: config.Dependency, yamlType: "file_contents", class: "FileContents", positional: []string{"path", "regex"},
			timeoutKey: "timeout", timeout: 5 * time.Second, convert: (*checkFields).fileContents},
		{role: config.Dependency, yamlType: "script", class: "Script", positional: []string{"command"},
			timeoutKey: "timeout", timeout: 5 * time.Second, failsInYAML: true, convert: (*checkFields).script},
		{role: config.Dependency, yamlType: "haproxy_backends", class: "HaproxyBackends", positional: []string{"domain_socket", "cluster"},
			timeoutKey: "timeout_seconds", timeout: 2 * time.Second, convert: (*checkFields).haproxyBackends},

		{role: config.Metric, yamlType: "constant_metric", class: "ConstantMetric", positional: []string{"weight"},
			convert: (*checkFields).constant},
		{role: config.Metric, yamlType: "cpu_load", class: "CPULoad", positional: []string{"weight"}, convert: (*checkFields).cpuLoad},
		{role: config.Metric, yamlType: "internet_health", class: "InternetHealth", positional: []string{"weight", "hosts"},
			timeoutKey: "timeout_seconds", timeout: 5 * time.Second, convert: (*checkFields).internetHealth},
		{role: config.Metric, yamlType: "script", class: "Script", positional: []string{"command", "weight"},
			timeoutKey: "timeout", timeout: 5 * time.Second, convert: (*checkFields).scriptMetric},
		{role: config.Metric, yamlType: "tcp_socket_utilization", class: "TcpSocketUtilization",
			positional: []string{"weight", "address", "maxconn"}, convert: (*checkFields).tcpSocket},
		{role: config.Metric, yamlType: "unix_socket_utilization", class: "UnixSocketUtilization",
			positional: []string{"weight", "socket_path", "maxconn"}, convert: (*checkFields).unixSocket},
		{role: config.Metric, yamlType: "haproxy_backends_health", class: "HaproxyBackendsHealth",
			positional: []string{"weight", "domain_socket", "cluster"},
			timeoutKey: "timeout_seconds", timeout: 2 * time.Second, failsInYAML: true, convert: (*checkFields).haproxyBackendsHealth},
		{role: config.Metric, yamlType: "big_brother_service", class: "BigBrotherService", positional: []string{"service"},
			convert: (*checkFields).bigBrother},
	}
}

func specByYAMLType(role config.Role, name string) (checkSpec, bool) {
	return findSpec(func(s checkSpec) bool { return s.role == role && s.yamlType == name })
}

// specByClass finds a check type by its Ruby class, which may be fully qualified (LitmusPaper::Metric::CPULoad).
func specByClass(role config.Role, name string) (checkSpec, bool) {
	module := "Metric::"
	if role == config.Dependency {
		module = "Dependency::"
	}
	name, ok := strings.CutPrefix(strings.TrimPrefix(name, "LitmusPaper::"), module)
	if name == "UnixSocketUtilitization" { // a misspelled name that litmus_paper still accepts
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

// checkFields converts the options of one check.
type checkFields struct {
	at      location
	notes   *notes
	options value // a mapping
	used    []string
	out     inlineTable
	failure string // why the check cannot be converted; "" if it can
}

// setRubyArguments sets the options from the arguments in Ruby and returns a reason to skip the check, or "". weightOnly is set for
// measure_health, which passes only the weight on to the check.
func (f *checkFields) setRubyArguments(spec checkSpec, args []value, weightOnly bool) string {
	f.options.kind = mapping
	var named value
	if n := len(args); n > 0 && args[n-1].kind == mapping {
		named, args = args[n-1], args[:n-1]
	}
	if weightOnly && len(args) > 0 {
		return "measure_health takes a class and named options: use measure_health_with_args for positional values"
	}
	if len(args) > len(spec.positional) {
		return fmt.Sprintf("%s takes at most %d positional values: %s",
			spec.class, len(spec.positional), strings.Join(spec.positional, ", "))
	}
	for i, v := range args {
		f.options.set(pair{spec.positional[i], v.at, v})
	}
	for _, p := range named.pairs {
		f.options.set(p)
	}
	if weightOnly && len(spec.positional) > 1 {
		f.notes.add(f.at, "litmus_paper's measure_health passes only the weight to %s and fails; converted as intended", spec.class)
	}
	return ""
}

// convert returns the check in lb's form and notes options that litmus_paper ignores.
func (f *checkFields) convert(spec checkSpec) string {
	f.out.set("type", "") // keeps the first place for setType
	spec.convert(f)
	f.setTimeout(spec)
	for _, p := range f.options.pairs {
		if !slices.Contains(f.used, p.key) {
			f.notes.add(p.at, "%s not converted: litmus_paper's %s ignores it", p.key, spec.class)
		}
	}
	return f.out.String()
}

// fail records why the check cannot be converted. Only the first reason is kept.
func (f *checkFields) fail(format string, args ...any) {
	if f.failure == "" {
		f.failure = fmt.Sprintf(format, args...)
	}
}

// setType sets lb's check type.
func (f *checkFields) setType(name string) { f.out.parts[0] = "type = " + strconv.Quote(name) }

// lookup returns an option and marks it as used. nil counts as absent.
func (f *checkFields) lookup(key string) (value, bool) {
	f.used = append(f.used, key)
	v, ok := f.options.get(key)
	return v, ok && v.kind != null
}

// require returns a required option.
func (f *checkFields) require(key string) value {
	v, ok := f.lookup(key)
	if !ok {
		f.fail("%s is missing", key)
	}
	return v
}

// requireString converts a required string option to lb's key as.
func (f *checkFields) requireString(key, as string) {
	if v := f.require(key); v.kind == text {
		f.out.set(as, quoted(v.text))
	} else {
		f.fail("%s is %s, not a string", key, v.describe())
	}
}

// optionalString returns an optional string.
func (f *checkFields) optionalString(key string) (string, bool) {
	v, ok := f.lookup(key)
	if ok && v.kind != text {
		f.fail("%s is %s, not a string", key, v.describe())
	}
	return v.text, ok
}

// requireInteger converts a required integer option to lb's key as.
func (f *checkFields) requireInteger(key, as string) {
	v := f.require(key)
	n, ok := v.number()
	if !ok {
		f.fail("%s is %s, not a whole number", key, v.describe())
	}
	f.out.set(as, strconv.FormatInt(n, 10))
}

// setPattern converts a pattern: a Ruby regular expression, or a string that holds one.
func (f *checkFields) setPattern(v value, as string) {
	if v.kind != text && v.kind != pattern {
		f.fail("%s is %s, not a pattern", as, v.describe())
		return
	}
	p, problem := goPattern(v.text, v.flags)
	if problem != "" {
		f.fail("pattern %s has no equivalent in lb: %s", v.describe(), problem)
	}
	f.out.set(as, quoted(p))
}

// rubyOnlySyntax matches syntax that Go's regexp accepts but reads differently, or that only Ruby has.
var rubyOnlySyntax = regexp.MustCompile(`\(\?[a-z]*[mx]|&&|\\[ZhHRXGK]`)

// goPattern converts a Ruby regular expression to Go. In Ruby, ^ and $ always match at line boundaries, which is Go's flag m. Ruby's flag
// m makes . match line ends, which is Go's flag s.
func goPattern(p, flags string) (result, problem string) {
	if at := rubyOnlySyntax.FindString(p); at != "" {
		return "", at + " means something else in Go"
	}
	mode := ""
	for _, c := range flags {
		switch c {
		case 'i':
			mode += "i"
		case 'm':
			mode += "s"
		default:
			return "", fmt.Sprintf("flag %c is not supported", c)
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

// These are lb's defaults (config/defaults.go). A value equal to its default is not written.
const (
	defaultTimeout  = 2 * time.Second
	defaultInterval = 3 * time.Second
)

// setTimeout writes the timeout where it differs from lb's default, and an interval longer than the timeout where lb's default is not.
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
			f.fail("%s is %s, not a positive number of seconds", key, v.describe())
			return
		}
		if key != spec.timeoutKey && given != d {
			f.notes.add(f.at, "%s: litmus_paper's %s ignores it and uses %s; lb uses the intended %s", key, spec.class, spec.timeout, given)
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
