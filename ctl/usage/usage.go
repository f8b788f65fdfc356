// Package usage holds the error that reports a wrong command line.
package usage

import "fmt"

// Error reports that the command line is wrong. Its text is one line, for the person who typed the command.
type Error struct {
	Text   string
	Option bool // an option is wrong or missing, not an argument: litmusctl exits with another status
}

// Error returns the text.
func (e *Error) Error() string { return e.Text }

// Errorf makes an *Error about an argument.
func Errorf(format string, args ...any) error {
	return &Error{Text: fmt.Sprintf(format, args...)}
}

// OptionErrorf makes an *Error about an option.
func OptionErrorf(format string, args ...any) error {
	return &Error{Text: fmt.Sprintf(format, args...), Option: true}
}
