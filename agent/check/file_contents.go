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

// maxFile bounds what is read of a file, in bytes.
const maxFile = 1 << 20

// fileContents is a dependency on a file whose first MiB matches a pattern.
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
		o.Invalid("path", problem, `give the whole path of a file, such as "/run/webapp/state"`)
	}
	f.pattern = decodePattern(o, "pattern", `give one such as "^OK", which the file must match`)
	return f
}

// badPath tells what is wrong with the path of a file, "" when it is fine.
func badPath(path string) string {
	switch {
	case path == "":
		return "is missing"
	case !filepath.IsAbs(path):
		return "does not begin with /"
	case strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "holds a control character"
	}
	return ""
}

// decodePattern reads a pattern that must be there.
func decodePattern(o config.Options, key, fix string) *regexp.Regexp {
	text := o.String(key, "")
	if text == "" {
		o.Invalid(key, "is missing", fix)
		return nil
	}
	pattern, err := regexp.Compile(text)
	if err != nil {
		o.Invalid(key, "is no pattern: "+err.Error(), "see https://pkg.go.dev/regexp/syntax; put \\ before a character that stands for itself")
	}
	return pattern
}

func (f fileContents) Run(ctx context.Context) Result {
	if err := ctx.Err(); err != nil {
		return bad("%v", reason(ctx, err, f.timeout))
	}
	data, whole, err := readFile(f.path, maxFile)
	switch {
	case err != nil:
		return bad("%v", err)
	case f.pattern.Match(data):
		return good("matches")
	case !whole:
		return bad("its first %d bytes do not match", len(data))
	}
	return bad("its %d bytes do not match", len(data)) // not what they are: the agent's page is open to many, the file need not be
}

// readFile reads at most limit bytes of a regular file; whole tells that there are no more. What is no regular file is not read: a
// pipe would keep the check waiting for a writer. A file that the kernel cannot read (a dead NFS server behind it) does hold the
// check; its last result then grows stale, which fails the dependency.
func readFile(path string, limit int64) (data []byte, whole bool, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, false, err
	}
	defer f.Close() // nothing was written that a failed close could lose
	info, err := f.Stat()
	if err != nil {
		return nil, false, err
	}
	if !info.Mode().IsRegular() {
		return nil, false, errors.New(path + " is no regular file")
	}
	data, err = io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, false, fmt.Errorf("read it: %w", err)
	}
	if int64(len(data)) > limit {
		return data[:limit], false, nil
	}
	return data, true, nil
}

func (f fileContents) Display() string {
	return fmt.Sprintf("Dependency::FileContents(%s, %s)", f.path, inspectPattern(f.pattern.String()))
}

// inspectPattern writes a pattern as Ruby shows it: between slashes, with those inside it escaped.
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
