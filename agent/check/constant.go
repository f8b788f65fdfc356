package check

import (
	"context"
	"fmt"

	"github.com/braintree/lb/config"
)

// constant is a metric that always contributes its full weight. It has no options of its own.
type constant struct {
	noFloor
	onlyReads
	weight int
}

func newConstant(c config.Check, _ Host) Check { return constant{weight: c.Weight} }

func (m constant) Run(context.Context) Result {
	return measured(float64(m.weight), m.weight, "constant")
}

func (m constant) Display() string { return fmt.Sprintf("Metric::ConstantMetric(%d)", m.weight) }
