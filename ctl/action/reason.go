package action

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os/user"
	"strings"
	"unicode"

	"github.com/braintree/lb/ctl/usage"
)

// maxReason bounds what askReason reads, in bytes.
const maxReason = 64 << 10

// askReason prompts on out for a reason and reads one line from in. done is the change that needs the reason, such as "forced".
func askReason(in io.Reader, out io.Writer, done string) (string, error) {
	if _, err := io.WriteString(out, "Reason? "); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(io.LimitReader(in, maxReason)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the reason: %w", err)
	}
	if cleanReason(line) == "" {
		if !strings.HasSuffix(line, "\n") {
			_, _ = io.WriteString(out, "\n") // end the prompt's line
		}
		return "", usage.OptionErrorf("nothing was %s: give a reason, as in -r \"apt upgrades\"", done)
	}
	return line, nil
}

// cleanReason turns a reason into one printable line.
func cleanReason(reason string) string {
	line := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(reason, "�"))
	return strings.TrimSpace(line)
}

// Who names the operator: the user that called sudo, otherwise the user of the process.
func Who(getenv func(string) string) string {
	if name := getenv("SUDO_USER"); name != "" {
		return name
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return getenv("USER")
}
