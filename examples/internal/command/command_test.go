package command

import (
	"bytes"
	"flag"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHelpIsAboutTheProgramAndItsFlags(t *testing.T) {
	for _, arg := range []string{"-h", "-help", "--help"} {
		flags := flag.NewFlagSet("", flag.ContinueOnError)
		flags.Int("count", 3, "how `many`")
		var out bytes.Buffer
		require.ErrorIs(t, Parse(flags, "It counts.", []string{arg}, &out), flag.ErrHelp)
		require.Equal(t, "It counts.\n  -count many\n    \thow many (default 3)\n", out.String())
	}
}

func TestWrongFlagsAreToldByTheErrorOnly(t *testing.T) {
	var out bytes.Buffer
	err := Parse(flag.NewFlagSet("", flag.ContinueOnError), "It counts.", []string{"-x"}, &out)
	require.ErrorContains(t, err, "-x")
	require.Empty(t, out.String())
}

func TestTheFirstArgumentChooses(t *testing.T) {
	chosen, rest, err := Choose("It counts.", []string{"up", "-h", "5"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, "up", chosen)
	require.Equal(t, []string{"-h", "5"}, rest)

	chosen, _, err = Choose("It counts.", nil, io.Discard)
	require.NoError(t, err)
	require.Empty(t, chosen)

	var out bytes.Buffer
	_, _, err = Choose("It counts.", []string{"-h"}, &out)
	require.ErrorIs(t, err, flag.ErrHelp)
	require.Equal(t, "It counts.\n", out.String())
}

func TestInterfaces(t *testing.T) {
	none, err := Interfaces("")
	require.NoError(t, err)
	require.Empty(t, none)

	_, err = Interfaces("no such")
	require.ErrorContains(t, err, `interface "no such"`)

	all, err := net.Interfaces()
	require.NoError(t, err)
	for _, ifi := range all {
		found, err := Interfaces(ifi.Name)
		require.NoError(t, err)
		require.Len(t, found, 1)
		require.Equal(t, ifi.Index, found[0].Index)
	}
}
