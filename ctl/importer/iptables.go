package importer

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// markRule is an iptables rule that sets a mark.
type markRule struct {
	at   location
	mark uint32
	vip  VIP
	used bool // by a cluster
}

// parseIPTables returns the rules that set marks, from the output of iptables-save or a script of iptables commands. It skips, and notes,
// rules that match on more than an address, an interface, a protocol and ports.
func parseIPTables(file, source string, notes *notes) []markRule {
	var rules []markRule
	lines := strings.Split(source, "\n")
	tableName := "filter"
	for i := 0; i < len(lines); i++ {
		at := location{file, i + 1, i + 1}
		text := strings.TrimSpace(lines[i])
		for strings.HasSuffix(text, `\`) && i+1 < len(lines) {
			i++
			text = strings.TrimSuffix(text, `\`) + " " + strings.TrimSpace(lines[i])
		}
		words := strings.Fields(strings.NewReplacer(`"`, "", "'", "").Replace(text))
		switch {
		case len(words) == 0 || strings.HasPrefix(words[0], "#"):
			continue
		case strings.HasPrefix(words[0], "*"):
			tableName = words[0][1:]
			continue
		}
		r := ruleParser{at: at, table: tableName, vip: VIP{}}
		if strings.HasPrefix(words[0], "[") { // counters of iptables-save -c
			words = words[1:]
		}
		r.parse(words)
		if r.table != "mangle" || r.chain != "PREROUTING" || r.target != "MARK" {
			continue
		}
		if problem := r.problem(); problem != "" {
			notes.add(at, "not converted: %s: %s", problem, text)
			continue
		}
		rules = append(rules, markRule{at: at, mark: r.mark, vip: r.vip})
	}
	return rules
}

// ruleParser parses the words of one rule.
type ruleParser struct {
	at            location
	table         string
	chain, target string
	mark          uint32
	marked        bool
	vip           VIP
	unsupported   string // the first part that a virtual IP cannot express
}

// parse parses the options. iptables accepts short and long names.
func (r *ruleParser) parse(words []string) {
	for i := 0; i < len(words); i++ {
		word, next := words[i], ""
		if i+1 < len(words) {
			next = words[i+1]
		}
		switch word {
		case "-A", "--append", "-I", "--insert":
			r.chain = next
		case "-t", "--table":
			r.table = next
		case "-d", "--destination", "--dst":
			r.destination(next)
		case "-i", "--in-interface", "--interface":
			r.vip.Interface = next
		case "-p", "--protocol", "--proto":
			r.vip.Protocol = next
		case "-m", "--match":
			if next != r.vip.Protocol && next != "multiport" && next != "comment" {
				r.reject("-m " + next)
			}
		case "--dport", "--destination-port", "--dports", "--destination-ports":
			r.ports(next)
		case "-j", "--jump":
			r.target = next
		case "--set-mark", "--set-xmark":
			r.setMark(next)
		case "--comment":
			for i+2 < len(words) && !strings.HasPrefix(words[i+2], "-") { // quotes are already removed, so a comment may be several words
				i++
			}
		case "iptables", "ip6tables", "sudo", "/sbin/iptables", "/sbin/ip6tables", "/usr/sbin/iptables", "/usr/sbin/ip6tables":
			continue
		default:
			r.reject(word)
			continue
		}
		i++
	}
}

func (r *ruleParser) reject(what string) {
	if r.unsupported == "" {
		r.unsupported = what
	}
}

func (r *ruleParser) destination(s string) {
	prefix, err := netip.ParsePrefix(s)
	if a, addrErr := netip.ParseAddr(s); addrErr == nil {
		prefix, err = netip.PrefixFrom(a, a.BitLen()), nil
	}
	if err != nil || !prefix.IsSingleIP() {
		r.reject("-d " + s)
		return
	}
	r.vip.Address = prefix.Addr()
}

func (r *ruleParser) ports(s string) {
	for _, p := range strings.Split(s, ",") {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			r.reject("port " + p)
			return
		}
		r.vip.Ports = append(r.vip.Ports, uint16(n))
	}
}

// setMark parses VALUE or VALUE/MASK. With a partial mask the mark would depend on other rules.
func (r *ruleParser) setMark(s string) {
	text, maskText, masked := strings.Cut(s, "/")
	n, err := strconv.ParseUint(text, 0, 32)
	mask := uint64(0xffffffff)
	if masked && err == nil {
		mask, err = strconv.ParseUint(maskText, 0, 32)
	}
	if err != nil || mask != 0xffffffff {
		r.reject("mark " + s)
		return
	}
	r.mark, r.marked = uint32(n), true
}

// problem returns why the rule cannot become a virtual IP, or "".
func (r *ruleParser) problem() string {
	switch {
	case r.unsupported != "":
		return fmt.Sprintf("a virtual IP in lb cannot express %q", r.unsupported)
	case !r.vip.Address.IsValid():
		return "the rule has no destination address (-d)"
	case len(r.vip.Ports) == 0:
		return "the rule has no destination port (--dport)"
	case r.vip.Protocol == "":
		return "the rule has no protocol (-p)"
	case !r.marked:
		return "the rule has no mark"
	}
	return ""
}
