package pacemaker

import (
	"encoding/xml"
	"fmt"
	"regexp"
	"strings"
)

// The elements of Pacemaker's configuration that lb writes, from the schemas resources-3.9.rng and constraints-3.9.rng.
type (
	configuration struct {
		XMLName     xml.Name  `xml:"configuration"`
		Resources   []element `xml:"resources>element"`
		Constraints []element `xml:"constraints>element"`
	}
	// element is one of several types in the same list; its XML name is that of its value.
	element      any
	cloneElement struct {
		XMLName   xml.Name  `xml:"clone"`
		ID        string    `xml:"id,attr"`
		Primitive primitive `xml:"primitive"`
	}
	groupElement struct {
		XMLName    xml.Name    `xml:"group"`
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
		XMLName xml.Name `xml:"rsc_location"`
		ID      string   `xml:"id,attr"`
		Rsc     string   `xml:"rsc,attr"`
		Score   int      `xml:"score,attr"`
		Node    string   `xml:"node,attr"`
	}
	colocation struct {
		XMLName xml.Name `xml:"rsc_colocation"`
		ID      string   `xml:"id,attr"`
		Score   string   `xml:"score,attr"`
		Rsc     string   `xml:"rsc,attr"`
		With    string   `xml:"with-rsc,attr"`
	}
	order struct {
		XMLName xml.Name `xml:"rsc_order"`
		ID      string   `xml:"id,attr"`
		Kind    string   `xml:"kind,attr"`
		First   string   `xml:"first,attr"`
		Then    string   `xml:"then,attr"`
	}
)

// emptyElement matches the end of an element without content, which encoding/xml writes in full. Values contain no <.
var emptyElement = regexp.MustCompile(`></[a-z_]+>`)

// XML formats the groups as the part of Pacemaker's configuration that `cibadmin --modify --allow-create --xml-pipe` merges into the
// existing one. The ids are those of crm.
func XML(groups []Group) ([]byte, error) {
	var c configuration
	var clones []element
	for _, g := range groups {
		e := groupElement{ID: g.ID, Meta: pairsOf(g.ID, "meta_attributes", g.Meta)}
		for _, r := range g.Addresses {
			e.Primitives = append(e.Primitives, primitiveOf(r))
		}
		for _, r := range g.Clusters {
			clones = append(clones, cloneElement{ID: r.ID, Primitive: primitiveOf(r.Resource)})
			c.Constraints = append(c.Constraints, colocation{ID: r.ColocationID, Score: "INFINITY", Rsc: g.ID, With: r.ID},
				order{ID: r.OrderID, Kind: "Optional", First: r.ID, Then: g.ID})
		}
		c.Resources = append(c.Resources, e)
		for _, p := range g.Prefer {
			c.Constraints = append(c.Constraints, location{ID: p.ID, Rsc: g.ID, Score: p.Score, Node: p.Node})
		}
	}
	c.Resources = append(c.Resources, clones...) // as in crm's output
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
		interval := seconds(o.Interval)
		p.Operations = append(p.Operations, operation{
			Name: o.Name, Interval: interval, Timeout: seconds(o.Timeout), ID: r.ID + "-" + o.Name + "-" + interval,
		})
	}
	return p
}

// pairsOf returns nil for no settings.
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
