package pacemaker

import (
	"encoding/xml"
	"fmt"
	"regexp"
	"strings"
)

// The elements of Pacemaker's configuration that are written, after its schema resources-3.9.rng and constraints-3.9.rng.
type (
	configuration struct {
		XMLName     xml.Name       `xml:"configuration"`
		Groups      []groupElement `xml:"resources>group"`
		Constraints []location     `xml:"constraints>rsc_location"`
	}
	groupElement struct {
		ID         string      `xml:"id,attr"`
		Meta       *pairs      `xml:"meta_attributes"`
		Primitives []primitive `xml:"primitive"`
	}
	primitive struct {
		ID         string      `xml:"id,attr"`
		Class      string      `xml:"class,attr"`
		Provider   string      `xml:"provider,attr"`
		Type       string      `xml:"type,attr"`
		Params     *pairs      `xml:"instance_attributes"`
		Meta       *pairs      `xml:"meta_attributes"`
		Operations []operation `xml:"operations>op"`
	}
	pairs struct {
		ID    string `xml:"id,attr"`
		Pairs []pair `xml:"nvpair"`
	}
	pair struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
		ID    string `xml:"id,attr"`
	}
	operation struct {
		Name     string `xml:"name,attr"`
		Interval string `xml:"interval,attr"`
		Timeout  string `xml:"timeout,attr"`
		ID       string `xml:"id,attr"`
	}
	location struct {
		ID    string `xml:"id,attr"`
		Rsc   string `xml:"rsc,attr"`
		Score int    `xml:"score,attr"`
		Node  string `xml:"node,attr"`
	}
)

// emptyElement is the end of an element without content, which encoding/xml writes in full. Values have no < in them.
var emptyElement = regexp.MustCompile(`></[a-z_]+>`)

// XML writes the groups as the part of Pacemaker's configuration that `cibadmin --modify --allow-create --xml-pipe` merges into what
// there is, by the same ids that crm gives.
func XML(groups []Group) ([]byte, error) {
	var c configuration
	for _, g := range groups {
		e := groupElement{ID: g.ID, Meta: pairsOf(g.ID, "meta_attributes", g.Meta)}
		for _, r := range g.Resources {
			e.Primitives = append(e.Primitives, primitiveOf(r))
		}
		c.Groups = append(c.Groups, e)
		for _, p := range g.Prefer {
			c.Constraints = append(c.Constraints, location{ID: p.ID, Rsc: g.ID, Score: p.Score, Node: p.Node})
		}
	}
	text, err := xml.MarshalIndent(c, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode Pacemaker's configuration: %w", err)
	}
	return append(emptyElement.ReplaceAll(text, []byte("/>")), '\n'), nil
}

func primitiveOf(r Resource) primitive {
	agent := strings.SplitN(r.Agent, ":", 3)
	p := primitive{
		ID: r.ID, Class: agent[0], Provider: agent[1], Type: agent[2],
		Params: pairsOf(r.ID, "instance_attributes", r.Params), Meta: pairsOf(r.ID, "meta_attributes", r.Meta),
	}
	for _, o := range r.Operations {
		every := seconds(o.Interval)
		p.Operations = append(p.Operations, operation{Name: o.Name, Interval: every, Timeout: seconds(o.Timeout), ID: r.ID + "-" + o.Name + "-" + every})
	}
	return p
}

// pairsOf is nil for no settings.
func pairsOf(owner, kind string, settings []Setting) *pairs {
	if len(settings) == 0 {
		return nil
	}
	set := pairs{ID: owner + "-" + kind}
	for _, s := range settings {
		set.Pairs = append(set.Pairs, pair{Name: s.Name, Value: s.Value, ID: set.ID + "-" + s.Name})
	}
	return &set
}
