//go:build lab

package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/braintree/lb/netx/lab/labtest"
)

// TestEverythingIsRightAgainAfterEachBlow lets another program destroy lb's state in the kernel under load, many times at random
// moments. It prints how long each took to be right again and how many requests were lost. LB_BLOWS is how often; scripts/bench
// faults sets it to 50.
func TestEverythingIsRightAgainAfterEachBlow(t *testing.T) {
	const seed = 12
	blows := 5
	if n, err := strconv.Atoi(os.Getenv("LB_BLOWS")); err == nil {
		blows = n
	}
	s := newTroubleStage(t)
	random := rand.New(rand.NewPCG(seed, seed))
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "BLOW\tTIMES\tRIGHT AGAIN: MEDIAN\tSLOWEST\tLOST\tANSWERED")
	for _, blow := range []string{"ipvsadm -C", "nft flush ruleset", "ip link del tunl0"} {
		host, right := s.BalancerHost, s.balancerIsRight
		if strings.HasPrefix(blow, "ip ") {
			host, right = s.Apps[1].Host, s.nodeIsRight
		}
		s.wellFrom(time.Now())
		before := s.counts()
		var took []time.Duration
		for range blows {
			<-time.After(time.Duration(random.IntN(300)) * time.Millisecond)
			s.sh(host, blow)
			at := time.Now()
			labtest.Eventually(t, timeout, "all is right again after "+blow, right)
			took = append(took, time.Since(at))
		}
		s.wellFrom(time.Now())
		slices.Sort(took)
		counts := s.counts()
		fmt.Fprintf(w, "%s\t%d\t%.2f s\t%.2f s\t%d\t%d\n", blow, blows, took[len(took)/2].Seconds(), took[blows-1].Seconds(),
			counts.Failed-before.Failed, counts.Answered-before.Answered)
		if slowest := took[blows-1]; slowest > noticedWithin {
			t.Errorf("%s: right again after %s, want within %s", blow, slowest, noticedWithin)
		}
	}
	w.Flush()
	t.Logf("requests lost of 15 a second:\n%s", table.String())
}

// balancerIsRight reports whether the kernel of the balancer has everything that lb put there.
func (s *troubleStage) balancerIsRight() (bool, string) {
	out := labtest.Run(s.t, s.BalancerHost, "sh", "-c", "ipvsadm -Sn; nft list table inet lb 2>&1 || true")
	right := strings.Count(out, "-w 100") == 6 && strings.Contains(out, "204.109.13.7 . tcp . 443 : 0x00000007") &&
		strings.Contains(out, "204.109.13.8 . tcp . 443 : 0x00000008")
	return right, out
}

// nodeIsRight reports whether the node accepts tunnelled packets.
func (s *troubleStage) nodeIsRight() (bool, string) {
	out := labtest.Run(s.t, s.Apps[1].Host, "sh", "-c",
		"ip -oneline address show dev tunl0 2>&1; ip -oneline link show up dev tunl0 2>&1 || true")
	return strings.Contains(out, "inet 204.109.13.7/32") && strings.Contains(out, ",UP,"), out
}
