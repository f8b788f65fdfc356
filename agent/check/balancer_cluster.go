package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/braintree/lb/config"
)

const (
	defaultBalancer = "127.0.0.1:9292" // big_brother's port and lb balance's
	// maxStatus bounds a balancer's answer, in bytes: lb tells of each node, in less than 1 KiB.
	maxStatus = 16 << 20
)

var (
	// clusterName is what lb allows in the name of a cluster.
	clusterName = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)
	// combinedWeight and runningLine are big_brother's lines.
	combinedWeight = regexp.MustCompile(`(?m)^CombinedWeight: (\d+)\r?$`)
	runningLine    = regexp.MustCompile(`(?m)^Running: (true|false)\r?$`)
)

// balancerCluster is a metric on the combined weight of a cluster on a balancer, lb's or big_brother's.
type balancerCluster struct {
	noFloor
	page    httpCheck // the balancer's answer; nothing but the URL of it is used
	cluster string
	full    int // the combined weight that gives the whole weight
	weight  int
}

func newBalancerCluster(c config.Check, _ Host) Check {
	o := c.Options
	address, cluster := o.String("address", defaultBalancer), o.String("cluster", "")
	if problem := badAddress(address); problem != "" {
		o.Invalid("address", problem, `give a host and a port, such as "`+defaultBalancer+`", which is the default`)
	}
	if cluster == "" {
		o.Invalid("cluster", "is missing", "name a cluster of that balancer")
	} else if !clusterName.MatchString(cluster) || strings.Trim(cluster, ".") == "" {
		o.Invalid("cluster", "is no name of a cluster", "use A-Z a-z 0-9 _ . -")
	}
	return balancerCluster{
		page:    httpCheck{httpOptions: httpOptions{URL: "http://" + address + "/cluster/" + cluster, Method: http.MethodGet, Timeout: c.Timeout}},
		cluster: cluster,
		full:    o.Int("full", max(c.Weight, 1), 1, 1_000_000),
		weight:  c.Weight,
	}
}

func (m balancerCluster) Run(ctx context.Context) Result {
	status, err := m.get(ctx)
	if err != nil {
		return bad("%v", reason(ctx, err, m.page.Timeout))
	}
	if !status.running {
		return measured(0, m.weight, "%s does not run there", m.cluster)
	}
	return measured(float64(m.weight)*float64(status.weight)/float64(m.full), m.weight, "combined weight %d of %d", status.weight, m.full)
}

// clusterStatus is what a balancer tells of a cluster.
type clusterStatus struct {
	running bool
	weight  int // combined, of the nodes
}

// get asks the balancer.
func (m balancerCluster) get(ctx context.Context) (clusterStatus, error) {
	client, err := m.page.client(ctx)
	if err != nil {
		return clusterStatus{}, err
	}
	defer client.CloseIdleConnections()
	req, err := m.page.request(ctx)
	if err != nil {
		return clusterStatus{}, err
	}
	req.Header.Set("Accept", "application/json, text/plain;q=0.5, */*;q=0.1")
	resp, err := client.Do(req)
	if err != nil {
		return clusterStatus{}, withoutURL(err)
	}
	defer resp.Body.Close() // the body is read or given up; a failed close changes nothing
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return clusterStatus{}, fmt.Errorf("the balancer has no cluster %s", m.cluster)
	default:
		return clusterStatus{}, fmt.Errorf("status %s", resp.Status)
	}
	body := &io.LimitedReader{R: resp.Body, N: maxStatus}
	data, err := io.ReadAll(body)
	if err == nil && body.N == 0 {
		err = fmt.Errorf("the answer has more than %d MiB", maxStatus>>20)
	}
	if err != nil {
		return clusterStatus{}, err
	}
	return parseClusterStatus(data)
}

// parseClusterStatus reads lb's answer in JSON, or big_brother's text.
func parseClusterStatus(body []byte) (clusterStatus, error) {
	if strings.HasPrefix(strings.TrimSpace(string(body)), "{") {
		var status struct {
			Running        *bool   `json:"running"`
			CombinedWeight *uint32 `json:"combined_weight"`
		}
		if err := json.Unmarshal(body, &status); err != nil {
			return clusterStatus{}, fmt.Errorf("read the balancer's answer: %w", err)
		}
		if status.Running == nil || status.CombinedWeight == nil {
			return clusterStatus{}, errors.New("the balancer's answer lacks running or combined_weight: is it a balancer's port?")
		}
		return clusterStatus{*status.Running, int(*status.CombinedWeight)}, nil
	}
	weight, running := combinedWeight.FindSubmatch(body), runningLine.FindSubmatch(body)
	if weight == nil || running == nil {
		return clusterStatus{}, errors.New("the balancer's answer has no line Running or CombinedWeight: is it a balancer's port?")
	}
	n, err := strconv.ParseUint(string(weight[1]), 10, 32)
	if err != nil {
		return clusterStatus{}, fmt.Errorf("read the balancer's CombinedWeight: %w", err)
	}
	return clusterStatus{string(running[1]) == "true", int(n)}, nil
}

// Display is litmus_paper's name for it.
func (m balancerCluster) Display() string {
	return fmt.Sprintf("Metric::BigBrotherService(%s)", m.cluster)
}
