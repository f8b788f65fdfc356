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
	// maxStatus is the maximum size of a balancer's response, in bytes. lb reports each node in less than 1 KiB.
	maxStatus = 16 << 20
)

var (
	// clusterName is what lb allows as the name of a cluster.
	clusterName = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)
	// combinedWeight and runningLine are lines of big_brother's response.
	combinedWeight = regexp.MustCompile(`(?m)^CombinedWeight: (\d+)\r?$`)
	runningLine    = regexp.MustCompile(`(?m)^Running: (true|false)\r?$`)
)

// balancerCluster is a metric on the combined weight of a cluster on a balancer, lb's or big_brother's.
type balancerCluster struct {
	noFloor
	page    httpCheck // used for its request only
	cluster string
	full    int // combined weight at which the metric has its full weight
	weight  int
}

func newBalancerCluster(c config.Check, _ Host) Check {
	o := c.Options
	address, cluster := o.String("address", defaultBalancer), o.String("cluster", "")
	if problem := badAddress(address); problem != "" {
		o.Invalid("address", problem, `give a host and a port, such as "`+defaultBalancer+`", which is the default`)
	}
	if cluster == "" {
		o.Invalid("cluster", "is missing", "give the name of a cluster on that balancer")
	} else if !clusterName.MatchString(cluster) || strings.Trim(cluster, ".") == "" {
		o.Invalid("cluster", "is not a valid cluster name", "use A-Z a-z 0-9 _ . -")
	}
	return balancerCluster{
		page: httpCheck{httpOptions: httpOptions{URL: "http://" + address + "/cluster/" + cluster, Method: http.MethodGet,
			Timeout: c.Timeout}},
		cluster: cluster,
		full:    o.Int("full", max(c.Weight, 1), 1, 1_000_000),
		weight:  c.Weight,
	}
}

func (m balancerCluster) Run(ctx context.Context) Result {
	status, err := m.get(ctx)
	if err != nil {
		return failed("%v", reason(ctx, err, m.page.Timeout))
	}
	if !status.running {
		return measured(0, m.weight, "cluster %s is not running there", m.cluster)
	}
	return measured(float64(m.weight)*float64(status.weight)/float64(m.full), m.weight, "combined weight %d of %d", status.weight, m.full)
}

// clusterStatus is the state of a cluster on a balancer.
type clusterStatus struct {
	running bool
	weight  int // combined weight of the nodes
}

// get queries the balancer.
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
	defer resp.Body.Close() // only read, so an error on close loses nothing
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
		err = fmt.Errorf("the response is larger than %d MiB", maxStatus>>20)
	}
	if err != nil {
		return clusterStatus{}, err
	}
	return parseClusterStatus(data)
}

// parseClusterStatus reads lb's JSON or big_brother's text.
func parseClusterStatus(body []byte) (clusterStatus, error) {
	if strings.HasPrefix(strings.TrimSpace(string(body)), "{") {
		var status struct {
			Running        *bool   `json:"running"`
			CombinedWeight *uint32 `json:"combined_weight"`
		}
		if err := json.Unmarshal(body, &status); err != nil {
			return clusterStatus{}, fmt.Errorf("read the balancer's response: %w", err)
		}
		if status.Running == nil || status.CombinedWeight == nil {
			return clusterStatus{}, errors.New("the response lacks running or combined_weight: is this a balancer's port?")
		}
		return clusterStatus{*status.Running, int(*status.CombinedWeight)}, nil
	}
	weight, running := combinedWeight.FindSubmatch(body), runningLine.FindSubmatch(body)
	if weight == nil || running == nil {
		return clusterStatus{}, errors.New("the response has no line Running or CombinedWeight: is this a balancer's port?")
	}
	n, err := strconv.ParseUint(string(weight[1]), 10, 32)
	if err != nil {
		return clusterStatus{}, fmt.Errorf("read the balancer's CombinedWeight: %w", err)
	}
	return clusterStatus{string(running[1]) == "true", int(n)}, nil
}

// Display is litmus_paper's name for the metric.
func (m balancerCluster) Display() string {
	return fmt.Sprintf("Metric::BigBrotherService(%s)", m.cluster)
}
