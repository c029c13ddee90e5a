package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
)

// parse parses arguments. If they ask for help with -h, it writes about and the flags to stdout
// and returns flag.ErrHelp. It does not print other errors.
func parse(flags *flag.FlagSet, about string, args []string, stdout io.Writer) error {
	flags.SetOutput(io.Discard)
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(stdout, about)
		flags.SetOutput(stdout)
		flags.PrintDefaults()
	}
	return err
}

// choose parses the arguments of a program whose first argument is a command. It returns the
// command, "" if there is none, and the command's own arguments.
func choose(about string, args []string, stdout io.Writer) (chosen string, rest []string, err error) {
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	if err := parse(flags, about, args, stdout); err != nil || flags.NArg() == 0 {
		return "", nil, err
	}
	return flags.Arg(0), flags.Args()[1:], nil
}

// interfaces returns the interface of that name, none if it is "".
func interfaces(name string) ([]*net.Interface, error) {
	if name == "" {
		return nil, nil
	}
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("interface %q: %w", name, err)
	}
	return []*net.Interface{ifi}, nil
}
