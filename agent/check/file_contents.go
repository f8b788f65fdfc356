package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/sanitize"
)

// maxFile is how much of a file is read, in bytes.
const maxFile = 1 << 20

// fileContents is a dependency on a file whose first MiB matches a regular expression.
type fileContents struct {
	noFloor
	onlyReads
	path    string // absolute
	pattern *regexp.Regexp
	timeout time.Duration
}

func newFileContents(c config.Check, _ Host) Check {
	o := c.Options
	f := fileContents{path: o.String("path", ""), timeout: c.Timeout}
	if problem := badPath(f.path); problem != "" {
		o.Invalid("path", problem, `give the absolute path of a file, such as "/run/webapp/state"`)
	}
	f.pattern = decodePattern(o, "pattern", `give a regular expression that the file must match, such as "^OK"`)
	return f
}

// badPath says what is wrong with the path of a file, "" if it is valid.
func badPath(path string) string {
	switch {
	case path == "":
		return "is missing"
	case !filepath.IsAbs(path):
		return "is not an absolute path"
	case strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "contains a control character"
	}
	return ""
}

// decodePattern reads a required regular expression.
func decodePattern(o config.Options, key, fix string) *regexp.Regexp {
	text := o.String(key, "")
	if text == "" {
		o.Invalid(key, "is missing", fix)
		return nil
	}
	pattern, err := regexp.Compile(text)
	if err != nil {
		o.Invalid(key, "is not a valid regular expression: "+err.Error(),
			"see https://pkg.go.dev/regexp/syntax; escape literal special characters with \\")
	}
	return pattern
}

func (f fileContents) Run(ctx context.Context) Result {
	if err := ctx.Err(); err != nil {
		return failed("%v", reason(ctx, err, f.timeout))
	}
	data, whole, err := readFile(f.path, maxFile)
	switch {
	case err != nil:
		return failed("%v", err)
	case f.pattern.Match(data):
		return passed("matches")
	case !whole:
		return failed("the first %d bytes do not match", len(data))
	}
	// The detail does not show the contents, because the status page may have more readers than the file.
	return failed("the %d bytes do not match", len(data))
}

// readFile reads at most limit bytes of a regular file; whole is true if there are no more. It refuses other
// files: a pipe would block until somebody writes to it. A file on a dead NFS server does block; the latest
// result then goes stale, which fails the dependency.
func readFile(path string, limit int64) (data []byte, whole bool, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, false, err
	}
	defer f.Close() // only read, so an error on close loses nothing
	info, err := f.Stat()
	if err != nil {
		return nil, false, err
	}
	if !info.Mode().IsRegular() {
		return nil, false, errors.New(path + " is not a regular file")
	}
	data, err = io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, false, err
	}
	if int64(len(data)) > limit {
		return data[:limit], false, nil
	}
	return data, true, nil
}

func (f fileContents) Display() string {
	return fmt.Sprintf("Dependency::FileContents(%s, %s)", f.path, inspectPattern(f.pattern.String()))
}

// inspectPattern writes a regular expression as Ruby does: between slashes, with slashes inside it escaped.
func inspectPattern(pattern string) string {
	var b strings.Builder
	b.WriteByte('/')
	escaped := false
	for _, r := range pattern {
		if r == '/' && !escaped {
			b.WriteByte('\\')
		}
		escaped = r == '\\' && !escaped
		b.WriteRune(r)
	}
	b.WriteByte('/')
	return sanitize.Line(b.String(), maxDetail)
}
