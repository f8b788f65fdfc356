package api

// The places of a virtual IP.
const (
	PlaceHere      = "here"
	PlaceRouted    = "routed"    // here: a route of type local leads its packets to this machine
	PlaceElsewhere = "elsewhere" // another machine on the same network has it
	PlaceNowhere   = "nowhere"   // not here, and no neighbour answers for it
	PlaceAbsent    = "absent"    // not here; this machine cannot ask its neighbours, or has no answer yet
	PlaceUnknown   = "unknown"   // lb has not read the state of the machine's network yet
)

// VIPStatus says where a virtual IP of a cluster is.
type VIPStatus struct {
	Address   string `json:"address"`
	Arrives   string `json:"arrives_on,omitempty"` // the configured interface where its packets must arrive; "": any
	Place     string `json:"place"`                // here, routed, elsewhere, nowhere, absent or unknown
	Interface string `json:"interface,omitempty"`  // of this machine that has it
	Expected  bool   `json:"expected"`             // the cluster runs here, and no other machine has the address
	Fault     string `json:"fault,omitempty"`      // why no packet reaches it here
}

// Present reports whether this machine takes packets for the virtual IP.
func (v VIPStatus) Present() bool { return v.Place == PlaceHere || v.Place == PlaceRouted }

// On is the interface that has the virtual IP, or should.
func (v VIPStatus) On() string {
	if v.Interface != "" {
		return v.Interface
	}
	return v.Arrives
}

// String says where the virtual IP is, and what is wrong about it, such as "204.109.13.7 on eth10".
func (v VIPStatus) String() string {
	text := v.Address
	switch v.Place {
	case PlaceHere:
		text += " on " + v.Interface
	case PlaceRouted:
		text += " here, by a local route"
	case PlaceElsewhere:
		text += " on another machine"
	case PlaceNowhere:
		text += " on no machine"
	case PlaceAbsent:
		text += " not on this machine"
	default:
		text += " (place not known yet)"
	}
	if v.Fault != "" {
		text += " (" + v.Fault + ")"
	}
	return text
}
