package balancer

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
)

// siteCluster is a cluster as its balancer describes it to those of other data centres: an element of the list that GET /fwmark/MARK
// answers. Names and order are those of the pages that big_brother reads from its interpol nodes (compat/bigbro-interpol.txt).
type siteCluster struct {
	AggregatedHealth int    `json:"aggregated_health"` // of all that are counted
	Count            int    `json:"count"`             // balancers that the figures are of: this one
	Address          string `json:"lb_ip_address"`     // that packets are to be sent to
	URL              string `json:"lb_url"`            // for people
	Health           int    `json:"health"`            // AggregatedHealth / Count
	Location         string `json:"lb_source_location"`
}

// fwmark answers GET /fwmark/MARK for the balancers of other data centres, for a cluster's mark and for that of its relay, which says that
// it takes packets from them: the combined weight of the cluster's own nodes. What it got
// from other data centres is not in it, so no weight is ever counted twice and no packet sent in a circle. A cluster that does
// not run here is an empty list: it is known, and takes nothing.
func (h handler) fwmark(w http.ResponseWriter, r *http.Request, number string) {
	mark, err := strconv.ParseUint(number, 10, 32)
	if err != nil || r.Method != http.MethodGet && r.Method != http.MethodHead {
		text(w, http.StatusNotFound, "Not Found")
		return
	}
	status := h.clusters.Status(r.Context())
	for _, c := range status.Clusters {
		if uint64(c.Mark) != mark && (uint64(c.RelayMark) != mark || mark == 0) {
			continue
		}
		list := []siteCluster{}
		if c.Running {
			asked := askedAt(r)
			list = append(list, siteCluster{
				AggregatedHealth: c.CombinedWeight, Count: 1, Health: c.CombinedWeight, Location: status.Location,
				Address: cmp.Or(status.RelayAddress, asked.Addr().String()),
				URL:     fmt.Sprintf("http://%s/fwmark/%d", asked, mark),
			})
		}
		body, err := json.Marshal(list)
		if err != nil {
			text(w, http.StatusInternalServerError, err.Error())
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body) // who does not read the answer does not want it
		return
	}
	text(w, http.StatusNotFound, fmt.Sprintf("Mark %d not found", mark))
}

// askedAt is the address of this machine that the request came to; that of this machine itself where it came over the socket.
func askedAt(r *http.Request) netip.AddrPort {
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		at := local.AddrPort()
		return netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port())
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)
}
