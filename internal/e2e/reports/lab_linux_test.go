package reports

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lab is the set-up of the reports: a server s and a client c with two cables, s1–c1 and
// s2–c2.
type lab struct{ s, c *netns.NS }

func newLab(t *testing.T) lab {
	t.Helper()
	l := lab{netns.New(t), netns.New(t)}
	for _, n := range []string{"1", "2"} {
		netns.Veth(t, l.s, "s"+n, l.c, "c"+n)
		l.s.Addr("s"+n, "10.0."+n+".1/24")
		l.c.Addr("c"+n, "10.0."+n+".2/24")
	}
	return l
}

// ipv6 gives both cables IPv6 addresses too.
func (l lab) ipv6() {
	for _, n := range []string{"1", "2"} {
		l.s.Addr("s"+n, "fd00:"+n+"::1/64")
		l.c.Addr("c"+n, "fd00:"+n+"::2/64")
		l.s.Addr("s"+n, "fe80::1/64")
		l.c.Addr("c"+n, "fe80::2/64")
	}
}

// received is a datagram that arrived.
type received struct {
	data     string
	from, to netip.AddrPort
	ifIndex  int
	ttl      int
}

// socket is a Conn in a namespace, with what it receives.
type socket struct {
	*udp.Conn
	got chan received
}

// in makes a socket with open, on a thread of the namespace. Its handler also calls each,
// if that is not nil.
func in(t testing.TB, ns *netns.NS, each func(udp.Datagram), open func(h udp.Handler) (*udp.Conn, error)) *socket {
	t.Helper()
	s := &socket{got: make(chan received, 10_000)}
	h := udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
		s.got <- received{string(d.Data), d.From, d.To(), d.IfIndex(), d.TTL()}
		if each != nil {
			each(d)
		}
	})
	var err error
	ns.Do(func() { s.Conn, err = open(h) })
	require.NoError(t, err)
	sockettest.CloseAtEnd(t, s.Conn)
	return s
}

func listen(t testing.TB, ns *netns.NS, cfg udp.Config, network, address string, each func(udp.Datagram)) *socket {
	t.Helper()
	return in(t, ns, each, func(h udp.Handler) (*udp.Conn, error) {
		return cfg.Listen(context.Background(), network, address, h)
	})
}

func dial(t testing.TB, ns *netns.NS, cfg udp.Config, address string) *socket {
	t.Helper()
	return in(t, ns, nil, func(h udp.Handler) (*udp.Conn, error) {
		c, err := cfg.Dial(context.Background(), "udp", address, h)
		if err != nil {
			return nil, err
		}
		return c.Conn, nil
	})
}

// send sends to the peer of a connected socket.
func (s *socket) send(data string) error {
	c, ok := s.Connected()
	if !ok {
		return net.ErrClosed
	}
	return c.Send([]byte(data))
}

func (s *socket) port() uint16 { return s.LocalAddrPort().Port() }

func (s *socket) at(address string) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(address), s.port())
}

// echo sends datagrams back.
func echo(t testing.TB) func(udp.Datagram) {
	return func(d udp.Datagram) { assert.NoError(t, d.Reply(d.Data)) }
}

// questions numbers the questions, so that a late reply is not taken for that of the next one.
var questions atomic.Int64

// asks sends a question until it arrives or is echoed. A link or an address that is new may
// lose some datagrams.
func asks(t testing.TB, s *socket, ask func(data string) error) received {
	t.Helper()
	question := fmt.Sprint("question ", questions.Add(1))
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	var err error
	for timeout := time.After(sockettest.Patience); ; {
		select {
		case r := <-s.got:
			if r.data == question {
				return r
			}
			continue
		default:
		}
		err = ask(question)
		select {
		case r := <-s.got:
			if r.data == question {
				return r
			}
		case <-again.C:
		case <-timeout:
			require.FailNow(t, "no response", "%v", err)
		}
	}
}

// plug connects s to a new namespace, by a new device v0 with these addresses.
func plug(t *testing.T, s *netns.NS, addresses ...string) *netns.NS {
	t.Helper()
	c := netns.New(t)
	netns.Veth(t, s, "v0", c, "eth")
	s.Addr("v0", addresses...)
	c.Addr("eth", "192.0.2.2/24", "fe80::2/64")
	return c
}
