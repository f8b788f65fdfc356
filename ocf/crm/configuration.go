package crm

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// Configuration is what Pacemaker is told, as far as it matters here.
type Configuration struct {
	Params map[string]map[string]string // of each resource, by its id
	With   map[string][]string          // of a resource, group or clone: what it has to run beside, all by their ids
	Orders []Order
}

// Order is an operator's word on where a resource is to run, which holds until it is taken back.
type Order struct {
	ID       string // cli-prefer-RESOURCE, cli-ban-RESOURCE-on-MACHINE
	Resource string // or the group
}

// handMade is how the ids of constraints begin that `crm resource move`, `pcs resource move` and crm_resource leave behind.
const handMade = "cli-"

// The elements of the configuration that are read, after resources-3.9.rng and constraints-3.9.rng.
type (
	configuration struct {
		XMLName     xml.Name `xml:"configuration"`
		Resources   holder   `xml:"resources"`
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
	holder struct {
		Primitives []struct {
			ID     string `xml:"id,attr"`
			Params []struct {
				Name  string `xml:"name,attr"`
				Value string `xml:"value,attr"`
			} `xml:"instance_attributes>nvpair"`
		} `xml:"primitive"`
		Groups []holder `xml:"group"`
		Clones []holder `xml:"clone"`
	}
)

// ConfigurationArguments are those by which cibadmin prints what ParseConfiguration reads.
func ConfigurationArguments() []string { return []string{"--query", "--scope", "configuration"} }

// ParseConfiguration reads what cibadmin prints with ConfigurationArguments.
func ParseConfiguration(text []byte) (Configuration, error) {
	var c configuration
	if err := xml.Unmarshal(text, &c); err != nil {
		return Configuration{}, fmt.Errorf("read what cibadmin says: %w", err)
	}
	told := Configuration{Params: map[string]map[string]string{}, With: map[string][]string{}}
	for _, l := range c.Colocations {
		if l.Score == "INFINITY" {
			told.With[l.Resource] = append(told.With[l.Resource], l.With)
		}
	}
	c.Resources.each(func(id, name, value string) {
		if told.Params[id] == nil {
			told.Params[id] = map[string]string{}
		}
		told.Params[id][name] = value
	})
	for _, l := range c.Constraints {
		if strings.HasPrefix(l.ID, handMade) {
			told.Orders = append(told.Orders, Order{ID: l.ID, Resource: l.Resource})
		}
	}
	return told, nil
}

// each calls do with each parameter of each resource.
func (h holder) each(do func(id, name, value string)) {
	for _, p := range h.Primitives {
		for _, v := range p.Params {
			do(p.ID, v.Name, v.Value)
		}
	}
	for _, inner := range [][]holder{h.Groups, h.Clones} {
		for _, in := range inner {
			in.each(do)
		}
	}
}
