package action

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/config"
)

// PlanRequest requests a plan: of a reload with the configuration at path or, with "", of the next reconcile. It reads and validates the
// configuration and puts the contents of all its files into the request.
func PlanRequest(path string, checks config.CheckValidator) (client.Request, error) {
	q := client.Request{Path: "/plan", JSON: true, Timeout: reloadTimeout}
	if path == "" {
		return q, nil
	}
	absolute, err := filepath.Abs(path) // the balancer's messages about the file hold in any working directory
	if err != nil {
		return q, fmt.Errorf("find %s: %w: give its absolute path", path, err)
	}
	files, err := config.Files(absolute)
	if err != nil {
		return q, err
	}
	if _, err := config.LoadFiles(files, checks); err != nil {
		return q, err
	}
	q.Method = http.MethodPost
	q.Body, err = json.Marshal(api.Candidate{Files: files})
	return q, err
}

// Plan sends the request and prints the plan. If a reload would be refused, it prints the plan and returns a *client.RefusedError.
func Plan(ctx context.Context, out io.Writer, balancer *client.Client, q client.Request, format Format) error {
	r, err := balancer.Do(ctx, q)
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		return err
	}
	var p api.Plan
	if err := r.Decode(&p); err != nil {
		return err
	}
	if format.JSON {
		err = printResponse(out, r, format)
	} else {
		_, err = io.WriteString(out, p.String())
	}
	if err == nil && p.Refused != "" {
		err = &client.RefusedError{Text: client.Balancer().Name + " would refuse a reload with this configuration"}
	}
	return err
}
