package resolve_test

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/internal/resolve"
	"github.com/udpkit/udp/internal/socket"
)

// hosts knows one name with addresses of both families.
type hosts struct{ socket.Network }

func (hosts) LookupIP(ctx context.Context, _, host string) ([]netip.Addr, error) {
	if err := ctx.Err(); err != nil {
		return nil, &net.DNSError{Err: "gave up", Name: host}
	}
	return []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("::ffff:192.0.2.1")}, nil
}

func TestAddressesFitTheNetwork(t *testing.T) {
	for _, c := range []struct{ network, address, want string }{
		{"udp", "name:53", "[[2001:db8::1]:53 192.0.2.1:53]"},
		{"udp4", "name:domain", "[192.0.2.1:53]"},
		{"udp6", "name:53", "[[2001:db8::1]:53]"},
		{"udp4", ":1", "[0.0.0.0:1]"},
		{"udp6", ":1", "[[::]:1]"},
	} {
		got, err := resolve.Lookup(t.Context(), hosts{}, nil, c.network, c.address)
		require.NoError(t, err, c)
		require.Equal(t, c.want, sprint(got))
	}
	_, err := resolve.Lookup(t.Context(), hosts{}, nil, "udp4", "[::1]:1")
	require.ErrorIs(t, err, socket.ErrFamily)
	_, err = resolve.Lookup(t.Context(), hosts{}, nil, "tcp", "name:1")
	require.ErrorAs(t, err, new(net.UnknownNetworkError))
}

func TestTheContextIsInTheError(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := resolve.Lookup(ctx, hosts{}, nil, "udp", "name:53")
	require.ErrorIs(t, err, context.Canceled)
}

func sprint(addrs []netip.AddrPort) string {
	s := ""
	for _, a := range addrs {
		s += " " + a.String()
	}
	return "[" + s[min(1, len(s)):] + "]"
}
