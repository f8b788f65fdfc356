package server

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
)

// siteCluster describes a cluster to the balancers of other data centres: one element of the response to GET /fwmark/MARK. Names
// and order are those that big_brother reads from its interpol nodes.
type siteCluster struct {
	AggregatedHealth int    `json:"aggregated_health"` // sum over all balancers that are counted
	Count            int    `json:"count"`             // balancers that the figures describe: this one
	Address          string `json:"lb_ip_address"`     // where to send packets
	URL              string `json:"lb_url"`            // for people
	Health           int    `json:"health"`            // AggregatedHealth / Count
	Location         string `json:"lb_source_location"`
}

// fwmark serves GET /fwmark/MARK to the balancers of other data centres with the combined weight of the cluster's own nodes. MARK is the
// cluster's mark or its relay's mark; the latter means that the cluster accepts packets from other data centres. Weight from other data
// centres is not included, so no weight counts twice and no packet travels in a circle. For a cluster that does not run here the list is
// empty: it exists but accepts no packets.
func (h handler) fwmark(w http.ResponseWriter, r *http.Request, number string) {
	mark, err := strconv.ParseUint(number, 10, 32)
	if err != nil || !isRead(r) {
		notFound(w)
		return
	}
	status := h.Clusters.Status(r.Context())
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
		_, _ = w.Write(body) // the client may have disconnected
		return
	}
	text(w, http.StatusNotFound, fmt.Sprintf("Mark %d not found", mark))
}

// askedAt returns the local address at which the request arrived; 127.0.0.1 if it arrived over the Unix socket.
func askedAt(r *http.Request) netip.AddrPort {
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		at := local.AddrPort()
		return netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port())
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)
}
