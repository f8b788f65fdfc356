package importer

import (
	"net"
	"strconv"
	"strings"
)

func (f *checkFields) http() {
	f.setType("http")
	f.requireString("uri", "url")
	if method, ok := f.optionalString("method"); ok && !strings.EqualFold(method, "GET") {
		f.out.set("method", quoted(strings.ToUpper(method)))
	}
	if v, ok := f.lookup("content"); ok && v.text != ".*" {
		f.setPattern(v, "content")
	}
	if file, ok := f.optionalString("ca_file"); ok {
		f.out.set("ca_file", quoted(file))
	}
}

func (f *checkFields) tcp() {
	f.setType("tcp")
	ip, port := f.require("ip"), f.require("port")
	n, ok := port.number()
	if port.kind == text { // Ruby's TCPSocket accepts a string or a number
		var err error
		n, err = strconv.ParseInt(port.text, 10, 64)
		ok = err == nil
	}
	if ip.kind != text || !ok {
		f.fail("ip and port are %s and %s", ip.describe(), port.describe())
	}
	f.out.set("address", quoted(net.JoinHostPort(ip.text, strconv.FormatInt(n, 10))))
	send, sends := f.optionalString("input_data")
	expect, expects := f.optionalString("expected_output")
	switch {
	case sends && expects:
		f.out.set("send", quoted(strings.TrimSuffix(send, "\n")+"\n"))
	case sends:
		f.notes.add(f.at, "input_data not converted: litmus_paper sends it only together with expected_output")
	}
	if expects {
		f.out.set("expect", quoted(expect))
		f.notes.add(f.at, "expected_output: lb accepts it anywhere in the response; litmus_paper required it to be the whole first line")
	}
}

func (f *checkFields) fileContents() {
	f.setType("file_contents")
	f.requireString("path", "path")
	f.setPattern(f.require("regex"), "pattern")
}

func (f *checkFields) script() {
	f.setType("script")
	f.requireString("command", "command")
}

func (f *checkFields) haproxyBackends() {
	f.setType("haproxy_backends")
	f.haproxy()
}

// haproxy converts the socket and the one backend that litmus_paper's HAProxy checks take.
func (f *checkFields) haproxy() {
	f.requireString("domain_socket", "socket")
	v := f.require("cluster")
	if v.kind != text {
		f.fail("cluster is %s, not a string", v.describe())
	}
	f.out.set("backends", stringList([]string{v.text}))
}

func (f *checkFields) constant() {
	f.setType("constant")
	f.requireInteger("weight", "weight")
}

func (f *checkFields) cpuLoad() {
	f.setType("cpu_load")
	f.requireInteger("weight", "weight")
}

func (f *checkFields) internetHealth() {
	f.setType("internet_health")
	v := f.require("hosts")
	var hosts []string
	for _, h := range v.items {
		if h.kind != text {
			f.fail("hosts contains %s, not host:port", h.describe())
		}
		hosts = append(hosts, h.text)
	}
	if len(hosts) == 0 {
		f.fail("hosts is %s, not a list of host:port", v.describe())
	}
	f.out.set("hosts", stringList(hosts))
	f.requireInteger("weight", "weight")
}

// scriptMetric follows litmus_paper's code, which multiplies the weight by the output. Its manual says that the script prints 0 to 100.
func (f *checkFields) scriptMetric() {
	f.setType("script")
	f.requireString("command", "command")
	f.out.set("scale", `"fraction"`)
	f.requireInteger("weight", "weight")
	f.notes.add(f.at, `scale = "fraction": litmus_paper multiplies the weight by the script's output, which must be 0 to 1; `+
		`remove the scale if the script prints 0 to 100`)
}

func (f *checkFields) tcpSocket() {
	f.setType("tcp_socket_utilization")
	f.requireString("address", "address")
	f.requireInteger("maxconn", "maxconn")
	f.requireInteger("weight", "weight")
}

func (f *checkFields) unixSocket() {
	f.setType("unix_socket_utilization")
	f.requireString("socket_path", "path")
	f.requireInteger("maxconn", "maxconn")
	f.requireInteger("weight", "weight")
}

func (f *checkFields) haproxyBackendsHealth() {
	f.setType("haproxy_backends_health")
	f.haproxy()
	f.requireInteger("weight", "weight")
}

// bigBrother has no weight in litmus_paper: the combined weight is the health. lb limits a metric to its weight, so 100 changes nothing.
func (f *checkFields) bigBrother() {
	f.setType("balancer_cluster")
	f.requireString("service", "cluster")
	f.out.set("weight", "100")
}
