package pacemaker

import (
	"fmt"
	"strings"
)

// pcsHead works on a copy of Pacemaker's configuration, so that nothing starts before it knows where it should.
const pcsHead = `# By lb ctl pacemaker. Load it with: lb ctl pacemaker --as pcs | sh
set -eu
cib=$(mktemp)
trap 'rm -f "$cib" "$cib.old"' EXIT
pcs cluster cib "$cib"
cp "$cib" "$cib.old"

resource() { # CLONE|GROUP ITS-ID ID AGENT OPTION...
    whole="$1 $2" id=$3 agent=$4
    shift 4
    if CIB_file=$cib crm_resource --query-xml --resource "$id" >/dev/null 2>&1; then
        pcs -f "$cib" resource update "$id" "$@"
    else
        # shellcheck disable=SC2086 # two words
        pcs -f "$cib" resource create "$id" "$agent" "$@" $whole
    fi
}

constraint() { # ID WORD... without the id
    id=$1
    shift
    grep -qF " id=\"$id\"" "$cib" || pcs -f "$cib" constraint "$@" id="$id"
}

`

// pcsTail hands over what differs, all at once.
const pcsTail = `
pcs cluster cib-push "$cib" diff-against="$cib.old"
`

// PCS writes the groups as a shell script of pcs commands.
func PCS(groups []Group) []byte {
	var b strings.Builder
	b.WriteString(pcsHead)
	for _, g := range groups {
		for _, c := range g.Clusters {
			pcsResource(&b, "clone "+c.ID, c.Resource)
		}
		for _, r := range g.Addresses {
			pcsResource(&b, "--group "+g.ID, r)
		}
		fmt.Fprintf(&b, "pcs -f \"$cib\" resource meta %s%s\n", g.ID, pcsSettings(g.Meta))
		for _, c := range g.Clusters {
			fmt.Fprintf(&b, "constraint %s colocation add %s with %s INFINITY\n", c.With, g.ID, c.ID)
			fmt.Fprintf(&b, "constraint %s order %s then %s kind=Optional\n", c.After, c.ID, g.ID)
		}
		for _, p := range g.Prefer {
			fmt.Fprintf(&b, "pcs -f \"$cib\" constraint location add %s %s %s %d\n", p.ID, g.ID, p.Node, p.Score)
		}
	}
	b.WriteString(pcsTail)
	return []byte(b.String())
}

// pcsResource writes the making of a resource, with the words that say in which clone or group.
func pcsResource(b *strings.Builder, whole string, r Resource) {
	fmt.Fprintf(b, "resource %s %s %s%s", whole, r.ID, r.Agent, pcsSettings(r.Params))
	if len(r.Operations) > 0 {
		b.WriteString(" \\\n    op")
	}
	for _, o := range r.Operations {
		fmt.Fprintf(b, " %s interval=%s timeout=%s", o.Name, seconds(o.Interval), seconds(o.Timeout))
	}
	if len(r.Meta) > 0 {
		b.WriteString(" \\\n    meta" + pcsSettings(r.Meta))
	}
	b.WriteByte('\n')
}

// pcsSettings writes settings as words of the shell.
func pcsSettings(settings []Setting) string {
	var words string
	for _, s := range settings {
		words += fmt.Sprintf(" %s='%s'", s.Name, s.Value)
	}
	return words
}
