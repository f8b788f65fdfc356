// Package action carries out the operator's commands, one file per command, without knowledge of the command line.
package action

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strconv"

	"github.com/braintree/lb/balancer/client"
)

// Streams are the standard streams of a command. Out gets the result, Err everything else.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// Format says how to print a result.
type Format struct {
	JSON    bool // for programs
	NoColor bool // leave out the terminal's colour sequences
}

// colorSequence matches the terminal sequences in the agent's list.
var colorSequence = regexp.MustCompile("\x1b\\[[0-9;]*m")

// printResponse writes a daemon's response in the given format.
func printResponse(out io.Writer, r client.Response, format Format) error {
	if format.JSON {
		text, err := r.IndentedJSON()
		if err != nil {
			return err
		}
		_, err = out.Write(text)
		return err
	}
	body := r.Body
	if format.NoColor {
		body = colorSequence.ReplaceAll(body, nil)
	}
	if len(body) > 0 && !bytes.HasSuffix(body, []byte("\n")) {
		body = append(bytes.Clone(body), '\n')
	}
	_, err := out.Write(body)
	return err
}

// printJSON writes v as indented JSON. <, > and & stay as they are: the result goes to a terminal or a program, not into a page.
func printJSON(out io.Writer, v any) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// count writes a number with its noun, such as "no nodes", "1 node" or "2 nodes".
func count(n int, noun string) string {
	switch n {
	case 0:
		return "no " + noun + "s"
	case 1:
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// orDash writes a number, or a dash for nil.
func orDash(n *int) string {
	if n == nil {
		return "-"
	}
	return strconv.Itoa(*n)
}
