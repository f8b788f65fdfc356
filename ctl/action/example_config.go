package action

import (
	"io"

	"github.com/braintree/lb/config"
)

// ExampleConfig prints the annotated configuration.
func ExampleConfig(out io.Writer) error {
	_, err := io.WriteString(out, config.Example)
	return err
}
