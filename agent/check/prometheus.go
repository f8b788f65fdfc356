package check

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/sanitize"
)

// Limits of an exporter's page, in bytes. It is read line by line; only the lines of the sample are kept.
const (
	maxPage        = 64 << 20
	maxPageLine    = 64 << 10
	maxPageSamples = 256 << 10 // all lines of the sample; parsing takes a hundred times as much memory
)

// The names of the Prometheus data model.
var (
	sampleName = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*$`)
	labelName  = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
)

// prometheus is a metric on one sample of an exporter's page: the full weight at best, 0 at worst, and linear
// in between.
type prometheus struct {
	noFloor
	page        httpCheck         // used for its client and its request only
	sample      string            // with its suffix, for example queue_size_count
	labels      map[string]string // the sample has these, and may have others
	best, worst float64
	weight      int
}

func newPrometheus(c config.Check, _ Host) Check {
	o := c.Options
	m := prometheus{
		page: httpCheck{httpOptions: httpOptions{
			URL: o.String("url", ""), Method: http.MethodGet, Headers: o.StringMap("headers"),
			CAFile: o.String("ca_file", ""), Timeout: c.Timeout,
		}},
		sample: o.String("sample", ""),
		labels: o.StringMap("labels"),
		best:   decodeEnd(o, "best", "give the value at which the metric has its full weight, such as best = 0"),
		worst:  decodeEnd(o, "worst", "give the value at which the metric is 0, such as worst = 1000"),
		weight: c.Weight,
	}
	if problem := badURL(m.page.URL); problem != "" {
		o.Invalid("url", problem, `give the URL of the exporter's page, such as "http://localhost:9154/metrics"`)
	}
	if problem := badHeaders(m.page.Headers); problem != "" {
		o.Invalid("headers", problem, `give a table of names and values, such as { Authorization = "Bearer …" }`)
	}
	if m.sample == "" {
		o.Invalid("sample", "is missing", `give a name on the page, such as "postfix_queue_length"`)
	} else if !sampleName.MatchString(m.sample) {
		o.Invalid("sample", "is not a sample name",
			`give only the name, such as "postfix_queue_length"; put the part in braces into labels`)
	}
	for _, name := range slices.Sorted(maps.Keys(m.labels)) {
		if !labelName.MatchString(name) {
			o.Invalid("labels", fmt.Sprintf("%q is not a label name", sanitize.Line(name, 40)),
				`give a table of names and values, such as { queue = "deferred" }`)
		}
	}
	if o.Has("best") && o.Has("worst") && (m.best == m.worst || math.IsInf(m.best-m.worst, 0)) {
		o.Invalid("worst", "must differ from best by a finite amount",
			"give another value: the metric has its full weight at best and 0 at worst")
	}
	return m
}

// decodeEnd reads one end of the scale. It has no default, because the meaning of the number depends on the sample.
func decodeEnd(o config.Options, key, fix string) float64 {
	if !o.Has(key) {
		o.Invalid(key, "is missing", fix)
	}
	return o.Float(key, 0)
}

func (m prometheus) Run(ctx context.Context) Result {
	value, err := m.get(ctx)
	if err != nil {
		return failed("%v", reason(ctx, err, m.page.Timeout))
	}
	share := scale(value, m.best, m.worst)
	return measured(float64(m.weight)*share, m.weight, "%s is %g (best %g, worst %g)", m.shown(), value, m.best, m.worst)
}

// get fetches the page and returns the value of the sample.
func (m prometheus) get(ctx context.Context) (float64, error) {
	client, err := m.page.client(ctx)
	if err != nil {
		return 0, err
	}
	defer client.CloseIdleConnections()
	req, err := m.page.request(ctx)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Accept", "text/plain; version=0.0.4")
	resp, err := client.Do(req)
	if err != nil {
		return 0, withoutURL(err)
	}
	defer resp.Body.Close() // only read, so an error on close loses nothing
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("status %s", resp.Status)
	}
	page := &io.LimitedReader{R: resp.Body, N: maxPage}
	value, err := parseSample(page, m.sample, m.labels)
	if page.N == 0 {
		return 0, fmt.Errorf("the page is larger than %d MiB", maxPage>>20)
	}
	return value, err
}

// parseSample finds the only sample with this name and these labels on a page in the Prometheus text format
// ("Exposition formats" in its documentation). Other lines need not be well-formed.
func parseSample(page io.Reader, name string, labels map[string]string) (float64, error) {
	kept, err := linesOf(page, name)
	if err != nil {
		return 0, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(kept))
	if err != nil {
		return 0, fmt.Errorf("the lines of %s: %w", name, err)
	}
	var values []float64
	for _, m := range families[name].GetMetric() {
		if hasLabels(m, labels) {
			values = append(values, m.GetUntyped().GetValue())
		}
	}
	switch {
	case len(kept) == 0:
		return 0, fmt.Errorf("the page has no %s", name)
	case len(values) == 0:
		return 0, fmt.Errorf("the page has no %s with these labels", name)
	case len(values) > 1:
		return 0, fmt.Errorf("the page has %d samples of %s: add labels to select one", len(values), name)
	case math.IsNaN(values[0]):
		return 0, fmt.Errorf("%s is NaN", name)
	}
	return values[0], nil
}

// linesOf keeps the lines of a page that are samples with this name. It drops the comments with the type, so
// that the parser treats each sample as a separate untyped value even if it is part of a histogram.
func linesOf(page io.Reader, name string) ([]byte, error) {
	var kept bytes.Buffer
	lines := bufio.NewScanner(page)
	lines.Buffer(nil, maxPageLine)
	for lines.Scan() {
		line := bytes.TrimLeft(lines.Bytes(), " \t")
		rest, found := bytes.CutPrefix(line, []byte(name))
		if !found || len(rest) == 0 || !bytes.ContainsRune([]byte(" \t{"), rune(rest[0])) {
			continue
		}
		if kept.Len()+len(line) > maxPageSamples {
			return nil, fmt.Errorf("the page has more than %d KiB of %s", maxPageSamples>>10, name)
		}
		kept.Write(line)
		kept.WriteByte('\n')
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return nil, fmt.Errorf("the page has a line longer than %d KiB: is it in the Prometheus text format?", maxPageLine>>10)
	}
	return kept.Bytes(), lines.Err()
}

// hasLabels reports whether a sample has all of the labels. It may have others.
func hasLabels(m *dto.Metric, labels map[string]string) bool {
	has := map[string]string{}
	for _, l := range m.GetLabel() {
		has[l.GetName()] = l.GetValue()
	}
	for name, value := range labels {
		if got, found := has[name]; !found || got != value {
			return false
		}
	}
	return true
}

// scale maps a value to 0 at worst and 1 at best, whichever of the two is larger.
func scale(value, best, worst float64) float64 {
	low, high := min(best, worst), max(best, worst)
	return (max(low, min(value, high)) - worst) / (best - worst)
}

// shown is the sample as on the page, with the configured labels.
func (m prometheus) shown() string {
	if len(m.labels) == 0 {
		return m.sample
	}
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(m.labels)) {
		pairs = append(pairs, name+"="+strconv.Quote(m.labels[name]))
	}
	return sanitize.Line(m.sample+"{"+strings.Join(pairs, ",")+"}", maxDetail)
}

func (m prometheus) Display() string {
	return fmt.Sprintf("Metric::Prometheus(%s, %d)", m.shown(), m.weight)
}
