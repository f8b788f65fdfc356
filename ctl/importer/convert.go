package importer

import (
	"net"
	"strconv"
	"strings"
)

func (f *fields) http() {
	f.kind("http")
	f.text("uri", "url")
	if method, ok := f.option("method"); ok && !strings.EqualFold(method, "GET") {
		f.out.set("method", quoted(strings.ToUpper(method)))
	}
	if v, ok := f.take("content"); ok && v.text != ".*" {
		f.regex(v, "content")
	}
	if file, ok := f.option("ca_file"); ok {
		f.out.set("ca_file", quoted(file))
	}
}

func (f *fields) tcp() {
	f.kind("tcp")
	ip, port := f.need("ip"), f.need("port")
	n, ok := port.number()
	if port.kind == text { // TCPSocket takes both
		var err error
		n, err = strconv.ParseInt(port.text, 10, 64)
		ok = err == nil
	}
	if ip.kind != text || !ok {
		f.fail("ip and port are %s and %s", ip.shown(), port.shown())
	}
	f.out.set("address", quoted(net.JoinHostPort(ip.text, strconv.FormatInt(n, 10))))
	send, sends := f.option("input_data")
	expect, expects := f.option("expected_output")
	switch {
	case sends && expects:
		f.out.set("send", quoted(strings.TrimSuffix(send, "\n")+"\n"))
	case sends:
		f.notes.add(f.at, "input_data is left out: litmus_paper sends it only where there is an expected_output")
	}
	if expects {
		f.out.set("expect", quoted(expect))
		f.notes.add(f.at, "expected_output: lb looks for it anywhere in the answer, litmus_paper wanted it to be the whole first line")
	}
}

func (f *fields) fileContents() {
	f.kind("file_contents")
	f.text("path", "path")
	f.regex(f.need("regex"), "pattern")
}

func (f *fields) script() {
	f.kind("script")
	f.text("command", "command")
}

func (f *fields) haproxyBackends() {
	f.kind("haproxy_backends")
	f.haproxy()
}

// haproxy reads the socket of a HAProxy and a backend of it.
func (f *fields) haproxy() {
	f.text("domain_socket", "socket")
	v := f.need("cluster")
	if v.kind != text {
		f.fail("cluster is %s, not text", v.shown())
	}
	f.out.set("backends", stringList([]string{v.text}))
}

func (f *fields) constant() {
	f.kind("constant")
	f.number("weight", "weight")
}

func (f *fields) cpuLoad() {
	f.kind("cpu_load")
	f.number("weight", "weight")
}

func (f *fields) internetHealth() {
	f.kind("internet_health")
	v := f.need("hosts")
	var hosts []string
	for _, h := range v.items {
		if h.kind != text {
			f.fail("hosts has %s, not host:port", h.shown())
		}
		hosts = append(hosts, h.text)
	}
	if len(hosts) == 0 {
		f.fail("hosts is %s, not a list of host:port", v.shown())
	}
	f.out.set("hosts", stringList(hosts))
	f.number("weight", "weight")
}

// scriptMetric multiplies, as litmus_paper's code does: its manual says that the script prints 0 to 100.
func (f *fields) scriptMetric() {
	f.kind("script")
	f.text("command", "command")
	f.out.set("scale", `"fraction"`)
	f.number("weight", "weight")
	f.notes.add(f.at, `scale = "fraction": litmus_paper multiplies the weight by what the script prints, so that it prints 0 to 1; if it prints 0 to 100, take that out`)
}

func (f *fields) tcpSocket() {
	f.kind("tcp_socket_utilization")
	f.text("address", "address")
	f.number("maxconn", "maxconn")
	f.number("weight", "weight")
}

func (f *fields) unixSocket() {
	f.kind("unix_socket_utilization")
	f.text("socket_path", "path")
	f.number("maxconn", "maxconn")
	f.number("weight", "weight")
}

func (f *fields) haproxyBackendsHealth() {
	f.kind("haproxy_backends_health")
	f.haproxy()
	f.number("weight", "weight")
}

// bigBrother has no weight in litmus_paper: the combined weight is the health, which is at most 100.
func (f *fields) bigBrother() {
	f.kind("balancer_cluster")
	f.text("service", "cluster")
	f.out.set("weight", "100")
}
