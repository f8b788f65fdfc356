package crm

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// Configuration is the part of Pacemaker's configuration that lb reads.
type Configuration struct {
	Params    map[string]map[string]string // of each resource, by its id
	Colocated map[string][]string          // by id of a resource, group or clone: the ids that it must run with
	Manual    []ManualConstraint
}

// ManualConstraint is a location constraint that a move or ban by hand left behind. It applies until it is cleared.
type ManualConstraint struct {
	ID       string // cli-prefer-RESOURCE, cli-ban-RESOURCE-on-MACHINE
	Resource string // or the group
}

// manualPrefix begins the ids of constraints that `crm resource move`, `pcs resource move` and crm_resource leave behind.
const manualPrefix = "cli-"

// The elements of the configuration that lb reads, from resources-3.9.rng and constraints-3.9.rng.
type (
	configuration struct {
		XMLName     xml.Name     `xml:"configuration"`
		Resources   resourceTree `xml:"resources"`
		Constraints []struct {
			ID       string `xml:"id,attr"`
			Resource string `xml:"rsc,attr"`
		} `xml:"constraints>rsc_location"`
		Colocations []struct {
			Resource string `xml:"rsc,attr"`
			With     string `xml:"with-rsc,attr"`
			Score    string `xml:"score,attr"`
		} `xml:"constraints>rsc_colocation"`
	}
	resourceTree struct {
		Primitives []struct {
			ID     string `xml:"id,attr"`
			Params []struct {
				Name  string `xml:"name,attr"`
				Value string `xml:"value,attr"`
			} `xml:"instance_attributes>nvpair"`
		} `xml:"primitive"`
		Groups []resourceTree `xml:"group"`
		Clones []resourceTree `xml:"clone"`
	}
)

// ConfigurationArguments are the arguments that make cibadmin print what ParseConfiguration reads.
func ConfigurationArguments() []string { return []string{"--query", "--scope", "configuration"} }

// ParseConfiguration parses the output of cibadmin with ConfigurationArguments.
func ParseConfiguration(text []byte) (Configuration, error) {
	var x configuration
	if err := xml.Unmarshal(text, &x); err != nil {
		return Configuration{}, fmt.Errorf("parse the output of cibadmin: %w", err)
	}
	c := Configuration{Params: map[string]map[string]string{}, Colocated: map[string][]string{}}
	for _, l := range x.Colocations {
		if l.Score == "INFINITY" {
			c.Colocated[l.Resource] = append(c.Colocated[l.Resource], l.With)
		}
	}
	x.Resources.forEachParam(func(id, name, value string) {
		if c.Params[id] == nil {
			c.Params[id] = map[string]string{}
		}
		c.Params[id][name] = value
	})
	for _, l := range x.Constraints {
		if strings.HasPrefix(l.ID, manualPrefix) {
			c.Manual = append(c.Manual, ManualConstraint{ID: l.ID, Resource: l.Resource})
		}
	}
	return c, nil
}

func (t resourceTree) forEachParam(do func(id, name, value string)) {
	for _, p := range t.Primitives {
		for _, param := range p.Params {
			do(p.ID, param.Name, param.Value)
		}
	}
	for _, subtrees := range [][]resourceTree{t.Groups, t.Clones} {
		for _, subtree := range subtrees {
			subtree.forEachParam(do)
		}
	}
}
