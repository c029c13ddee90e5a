package sys

import (
	"errors"
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// An interface without an IPv4 address can be given one: that is no lack of the system.
func TestErrorsOfGolangOrgXNet(t *testing.T) {
	wrap := func(err error) error { return &net.OpError{Op: "set", Net: "udp4", Err: err} }
	err := multicastErr(wrap(errors.New("no such interface")))
	require.ErrorIs(t, err, EADDRNOTAVAIL)
	require.NotErrorIs(t, err, errors.ErrUnsupported)
	require.ErrorIs(t, multicastErr(wrap(errors.New("not implemented on plan9/amd64"))), errors.ErrUnsupported)
	errno := os.NewSyscallError("setsockopt", EINVAL)
	require.Equal(t, errno, multicastErr(wrap(errno)))
	require.NoError(t, multicastErr(nil))
}
