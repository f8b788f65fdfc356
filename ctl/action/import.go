package action

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/ctl/importer"
)

// Import writes an imported configuration to a file, or to Out if path is "" or "-", and the notes about it to Err. overwrite replaces an
// existing file. An incomplete configuration is an error, after it is written.
func Import(s Streams, r importer.Result, path string, overwrite bool) error {
	for _, n := range r.Notes {
		fmt.Fprintf(s.Err, "%s\n", n)
	}
	if err := writeImported(s.Out, r.Text, path, overwrite); err != nil {
		return err
	}
	if len(r.Missing) > 0 {
		fmt.Fprintln(s.Err, "the result is incomplete: lb rejects it until you add what is missing")
		return r.Missing
	}
	if len(r.Config.Services)+len(r.Config.Clusters) == 0 {
		return errors.New("the result has no services and no clusters: the notes above say what was left out and why")
	}
	_, err := fmt.Fprintf(s.Err, "the result is valid: %s\n", summary(r.Config))
	return err
}

func writeImported(out io.Writer, text, path string, overwrite bool) error {
	if path == "" || path == "-" {
		_, err := io.WriteString(out, text)
		return err
	}
	mode := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if overwrite {
		mode = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(path, mode, 0o640) // URLs may contain passwords: not readable by everyone
	if errors.Is(err, fs.ErrExist) {
		return &client.RefusedError{Text: path + " already exists: choose another file, or overwrite it with --force"}
	}
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	_, err = io.WriteString(f, text)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w: the file is incomplete, do not use it", path, err)
	}
	return nil
}
