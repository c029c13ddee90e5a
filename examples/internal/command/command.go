// Package command is what the command lines of the examples have in common.
package command

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
)

// Parse parses arguments. To stdout it writes the help that -h asks for, which is
// about, and then the flags; the error is flag.ErrHelp then. Any other error is
// told by who gets it, and not here too.
func Parse(flags *flag.FlagSet, about string, args []string, stdout io.Writer) error {
	flags.SetOutput(io.Discard)
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(stdout, about)
		flags.SetOutput(stdout)
		flags.PrintDefaults()
	}
	return err
}

// Choose parses the arguments of a program whose first one is a command, and
// returns that, "" if there is none, and the arguments of its own.
func Choose(about string, args []string, stdout io.Writer) (chosen string, rest []string, err error) {
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	if err := Parse(flags, about, args, stdout); err != nil || flags.NArg() == 0 {
		return "", nil, err
	}
	return flags.Arg(0), flags.Args()[1:], nil
}

// Interfaces returns the interface of that name, none if it is "".
func Interfaces(name string) ([]*net.Interface, error) {
	if name == "" {
		return nil, nil
	}
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("interface %q: %w", name, err)
	}
	return []*net.Interface{ifi}, nil
}
