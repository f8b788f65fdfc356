package action

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/ctl/doctor"
)

// ErrUnsafeKernel reports that doctor found something bad, or could not look at everything. The printed result already says which.
var ErrUnsafeKernel = errors.New("this machine is not set up as lb needs it")

// Doctor prints whether this machine is as the documentation says it must be, and how to fix what is not. It returns ErrUnsafeKernel if
// anything is bad or unknown, joined with what kept it from looking if nothing is bad.
func Doctor(ctx context.Context, out io.Writer, cfg *config.Config, version string, format Format) error {
	m, err := doctor.ThisMachine(cfg, version)
	if err != nil {
		return err
	}
	findings, err := doctor.Examine(ctx, m)
	return printFindings(out, findings, err, format)
}

func printFindings(out io.Writer, findings []doctor.Finding, notExamined error, format Format) error {
	var result error
	switch {
	case slices.ContainsFunc(findings, func(f doctor.Finding) bool { return !f.Good && !f.Unknown }):
		result = ErrUnsafeKernel
	case slices.ContainsFunc(findings, func(f doctor.Finding) bool { return f.Unknown }):
		result = errors.Join(ErrUnsafeKernel, notExamined)
	}
	if format.JSON {
		return errors.Join(printJSON(out, findings), result)
	}
	var err error
	for _, f := range findings {
		_, err = fmt.Fprintln(out, f)
	}
	return errors.Join(err, result)
}
