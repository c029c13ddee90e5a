//lint:file-ignore ST1008 the error is what is compared, with what to hide in its text

package udp_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/nettest"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
)

// standardConn is what *net.UDPConn and *udp.PacketConn have in common.
type standardConn interface {
	net.Conn
	net.PacketConn
	syscall.Conn
	ReadFromUDP(b []byte) (int, *net.UDPAddr, error)
	WriteToUDP(b []byte, addr *net.UDPAddr) (int, error)
	WriteToUDPAddrPort(b []byte, addr netip.AddrPort) (int, error)
	WriteMsgUDPAddrPort(b, oob []byte, addr netip.AddrPort) (n, oobn int, err error)
	ReadMsgUDP(b, oob []byte) (n, oobn, flags int, addr *net.UDPAddr, err error)
	WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error)
	SetReadBuffer(bytes int) error
	SetWriteBuffer(bytes int) error
	File() (*os.File, error)
}

var (
	_ standardConn = (*net.UDPConn)(nil)
	_ standardConn = (*udp.PacketConn)(nil)
)

// A maker makes conns of one kind.
type maker struct {
	name   string
	listen func(t *testing.T, network, address string) standardConn
	dial   func(t *testing.T, network, address string) standardConn
}

var makers = []maker{{
	name: "net",
	listen: func(t *testing.T, network, address string) standardConn {
		c, err := net.ListenPacket(network, address)
		require.NoError(t, err)
		return c.(standardConn)
	},
	dial: func(t *testing.T, network, address string) standardConn {
		c, err := net.Dial(network, address)
		require.NoError(t, err)
		return c.(standardConn)
	},
}, {
	name: "udp",
	listen: func(t *testing.T, network, address string) standardConn {
		c, err := udp.Config{}.ListenPacket(t.Context(), network, address)
		require.NoError(t, err)
		return c
	},
	dial: func(t *testing.T, network, address string) standardConn {
		c, err := udp.Config{}.DialContext(t.Context(), network, address)
		require.NoError(t, err)
		return c.(standardConn)
	},
}, {
	name: "adopted",
	listen: func(t *testing.T, network, address string) standardConn {
		c, err := net.ListenPacket(network, address)
		require.NoError(t, err)
		pc, err := udp.Config{}.AdoptPacket(c.(*net.UDPConn))
		require.NoError(t, err)
		return pc
	},
	dial: func(t *testing.T, network, address string) standardConn {
		c, err := net.Dial(network, address)
		require.NoError(t, err)
		pc, err := udp.Config{}.AdoptPacket(c.(*net.UDPConn))
		require.NoError(t, err)
		return pc
	},
}}

func eachMaker(t *testing.T, f func(t *testing.T, m maker)) {
	for _, m := range makers {
		t.Run(m.name, func(t *testing.T) { f(t, m) })
	}
}

// PacketConn has every method of *net.UDPConn, with the same types.
func TestPacketConnHasTheMethodsOfUDPConn(t *testing.T) {
	theirs, ours := reflect.TypeFor[*net.UDPConn](), reflect.TypeFor[*udp.PacketConn]()
	for i := range theirs.NumMethod() {
		want := theirs.Method(i)
		if want.Name == "MultipathTCP" {
			continue
		}
		got, ok := ours.MethodByName(want.Name)
		if !ok {
			t.Errorf("no method %s", want.Name)
			continue
		}
		signature := func(m reflect.Method) (s []reflect.Type) {
			for i := 1; i < m.Type.NumIn(); i++ {
				s = append(s, m.Type.In(i))
			}
			for i := range m.Type.NumOut() {
				s = append(s, m.Type.Out(i))
			}
			return s
		}
		require.Equal(t, signature(want), signature(got), want.Name)
	}
}

// ended makes a stream of datagrams end: nettest wants to see io.EOF after the other
// end's Close, so Close sends an empty datagram.
type ended struct {
	net.Conn
	closing sync.Once
}

func (c *ended) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n == 0 && err == nil && len(b) > 0 {
		return 0, io.EOF
	}
	return n, err
}

func (c *ended) Close() error {
	c.closing.Do(func() {
		c.Conn.SetWriteDeadline(time.Time{})
		c.Conn.Write(nil)
	})
	return c.Conn.Close()
}

// reserve returns two addresses that nobody has.
func reserve(t *testing.T) (a, b string) {
	one, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer one.Close()
	two, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer two.Close()
	return one.LocalAddr().String(), two.LocalAddr().String()
}

func TestPacketConnNettest(t *testing.T) {
	pair := func(t *testing.T, adopt func(*net.UDPConn) net.Conn) nettest.MakePipe {
		return func() (c1, c2 net.Conn, stop func(), err error) {
			a, b := reserve(t)
			make := func(local, remote string) net.Conn {
				laddr, _ := net.ResolveUDPAddr("udp4", local)
				raddr, _ := net.ResolveUDPAddr("udp4", remote)
				c, err := net.DialUDP("udp4", laddr, raddr)
				require.NoError(t, err)
				require.NoError(t, c.SetReadBuffer(8<<20))
				return &ended{Conn: adopt(c)}
			}
			c1, c2 = make(a, b), make(b, a)
			return c1, c2, func() { c1.Close(); c2.Close() }, nil
		}
	}
	t.Run("net", func(t *testing.T) {
		nettest.TestConn(t, pair(t, func(c *net.UDPConn) net.Conn { return c }))
	})
	t.Run("udp", func(t *testing.T) {
		nettest.TestConn(t, pair(t, func(c *net.UDPConn) net.Conn {
			pc, err := udp.Config{}.AdoptPacket(c)
			require.NoError(t, err)
			return pc
		}))
	})
}

// past and future deadlines in every order, set before and during a read.
func TestPacketConnDeadlines(t *testing.T) {
	past := func() time.Time { return time.Now().Add(-time.Second) }
	soon := func() time.Time { return time.Now().Add(10 * time.Millisecond) }
	late := func() time.Time { return time.Now().Add(time.Hour) }
	none := func() time.Time { return time.Time{} }
	orders := map[string][]func() time.Time{
		"past": {past}, "soon": {soon}, "late, past": {late, past}, "none, past": {none, past},
		"past, late, past": {past, late, past}, "late, soon": {late, soon}, "soon, late, soon": {soon, late, soon},
		"past, none, soon": {past, none, soon}, "unix": {func() time.Time { return time.Unix(0, 1) }},
	}
	eachMaker(t, func(t *testing.T, m maker) {
		for name, deadlines := range orders {
			t.Run(name+" before", func(t *testing.T) {
				c := m.listen(t, "udp4", "127.0.0.1:0")
				defer c.Close()
				for _, d := range deadlines {
					require.NoError(t, c.SetReadDeadline(d()))
				}
				_, _, err := c.ReadFrom(make([]byte, 10))
				requireTimeout(t, c, err)
			})
			t.Run(name+" during", func(t *testing.T) {
				c := m.listen(t, "udp4", "127.0.0.1:0")
				defer c.Close()
				errs := make(chan error, 3)
				for range 3 { // two of them wait for the lock
					go func() {
						_, _, err := c.ReadFrom(make([]byte, 10))
						errs <- err
					}()
				}
				for _, d := range deadlines {
					require.NoError(t, c.SetDeadline(d()))
				}
				for range 3 {
					requireTimeout(t, c, <-errs)
				}
			})
		}
		t.Run("past wins over a datagram, which stays", func(t *testing.T) {
			c := m.listen(t, "udp4", "127.0.0.1:0")
			defer c.Close()
			for range 2 {
				_, err := c.WriteTo([]byte("hello"), c.LocalAddr())
				require.NoError(t, err)
			}
			b := make([]byte, 10)
			n, _, err := c.ReadFrom(b) // one of the two may be in a batch
			require.NoError(t, err)
			require.Equal(t, 5, n)
			require.NoError(t, c.SetReadDeadline(past()))
			_, _, err = c.ReadFrom(b)
			requireTimeout(t, c, err)
			require.NoError(t, c.SetReadDeadline(none()))
			n, from, err := c.ReadFrom(b)
			require.NoError(t, err)
			require.Equal(t, "hello", string(b[:n]))
			require.Equal(t, c.LocalAddr().String(), from.String())
		})
		t.Run("of writes", func(t *testing.T) {
			c := m.listen(t, "udp4", "127.0.0.1:0")
			defer c.Close()
			require.NoError(t, c.SetWriteDeadline(past()))
			_, err := c.WriteTo([]byte("hello"), c.LocalAddr())
			var op *net.OpError
			require.ErrorAs(t, err, &op)
			require.Equal(t, "write", op.Op)
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			require.NoError(t, c.SetWriteDeadline(none()))
			_, err = c.WriteTo([]byte("hello"), c.LocalAddr())
			require.NoError(t, err)
		})
	})
}

func requireTimeout(t *testing.T, c net.Conn, err error) {
	t.Helper()
	var op *net.OpError
	require.ErrorAs(t, err, &op)
	require.True(t, op.Timeout())
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Equal(t, "read udp4 "+c.LocalAddr().String()+": i/o timeout", "read udp4 "+op.Source.String()+": "+op.Err.Error())
	require.Equal(t, "read", op.Op)
}

// Errors have the texts and types of package net's.
func TestPacketConnErrors(t *testing.T) {
	cases := []struct {
		name string
		do   func(t *testing.T, m maker) (err error, hide []string)
	}{
		{"second close", func(t *testing.T, m maker) (error, []string) {
			c := m.listen(t, "udp4", "127.0.0.1:0")
			require.NoError(t, c.Close())
			return c.Close(), []string{c.LocalAddr().String()}
		}},
		{"read after close", func(t *testing.T, m maker) (error, []string) {
			c := m.listen(t, "udp4", "127.0.0.1:0")
			require.NoError(t, c.Close())
			_, _, err := c.ReadFrom(make([]byte, 1))
			return err, []string{c.LocalAddr().String()}
		}},
		{"empty read after close", func(t *testing.T, m maker) (error, []string) {
			c := m.listen(t, "udp4", "127.0.0.1:0")
			require.NoError(t, c.Close())
			_, err := c.Read(nil)
			return err, []string{c.LocalAddr().String()}
		}},
		{"write after close", func(t *testing.T, m maker) (error, []string) {
			c := m.listen(t, "udp4", "127.0.0.1:0")
			require.NoError(t, c.Close())
			_, err := c.WriteTo(nil, c.LocalAddr())
			return err, []string{c.LocalAddr().String()}
		}},
		{"deadline after close", func(t *testing.T, m maker) (error, []string) {
			c := m.listen(t, "udp4", "127.0.0.1:0")
			require.NoError(t, c.Close())
			return c.SetReadDeadline(time.Now()), []string{c.LocalAddr().String()}
		}},
		{"write deadline after close", func(t *testing.T, m maker) (error, []string) {
			c := m.listen(t, "udp4", "127.0.0.1:0")
			require.NoError(t, c.Close())
			return c.SetWriteDeadline(time.Now()), []string{c.LocalAddr().String()}
		}},
		{"buffer after close", func(t *testing.T, m maker) (error, []string) {
			c := m.listen(t, "udp4", "127.0.0.1:0")
			require.NoError(t, c.Close())
			return c.SetReadBuffer(1 << 16), []string{c.LocalAddr().String()}
		}},
		{"file after close", func(t *testing.T, m maker) (error, []string) {
			c := m.listen(t, "udp4", "127.0.0.1:0")
			require.NoError(t, c.Close())
			_, err := c.File()
			return err, []string{c.LocalAddr().String()}
		}},
		{"write without a peer", func(t *testing.T, m maker) (error, []string) {
			c := m.listen(t, "udp4", "127.0.0.1:0")
			defer c.Close()
			_, err := c.Write([]byte("x"))
			return err, []string{c.LocalAddr().String()}
		}},
		{"write to with a peer", func(t *testing.T, m maker) (error, []string) {
			c := m.dial(t, "udp4", "127.0.0.1:9")
			defer c.Close()
			_, err := c.WriteTo([]byte("x"), c.RemoteAddr())
			return err, []string{c.LocalAddr().String()}
		}},
		{"write message to with a peer", func(t *testing.T, m maker) (error, []string) {
			c := m.dial(t, "udp4", "127.0.0.1:9")
			defer c.Close()
			_, _, err := c.WriteMsgUDP([]byte("x"), nil, c.RemoteAddr().(*net.UDPAddr))
			return err, []string{c.LocalAddr().String()}
		}},
		{"nil address", func(t *testing.T, m maker) (error, []string) {
			c := m.listen(t, "udp4", "127.0.0.1:0")
			defer c.Close()
			_, err := c.WriteTo([]byte("x"), nil)
			return err, []string{c.LocalAddr().String()}
		}},
		{"nil UDP address", func(t *testing.T, m maker) (error, []string) {
			c := m.listen(t, "udp4", "127.0.0.1:0")
			defer c.Close()
			_, err := c.WriteTo([]byte("x"), (*net.UDPAddr)(nil))
			return err, []string{c.LocalAddr().String()}
		}},
		{"nil message address", func(t *testing.T, m maker) (error, []string) {
			c := m.listen(t, "udp4", "127.0.0.1:0")
			defer c.Close()
			_, _, err := c.WriteMsgUDP([]byte("x"), nil, nil)
			return err, []string{c.LocalAddr().String()}
		}},
		{"other address", func(t *testing.T, m maker) (error, []string) {
			c := m.listen(t, "udp4", "127.0.0.1:0")
			defer c.Close()
			_, err := c.WriteTo([]byte("x"), &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9})
			return err, []string{c.LocalAddr().String()}
		}},
		{"port 0", func(t *testing.T, m maker) (error, []string) {
			c := m.listen(t, "udp4", "127.0.0.1:0")
			defer c.Close()
			_, err := c.WriteTo([]byte("x"), &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			return err, []string{c.LocalAddr().String()}
		}},
		{"other family", func(t *testing.T, m maker) (error, []string) {
			c := m.listen(t, "udp4", "127.0.0.1:0")
			defer c.Close()
			_, err := c.WriteTo([]byte("x"), &net.UDPAddr{IP: net.IPv6loopback, Port: 9})
			return err, []string{c.LocalAddr().String()}
		}},
		{"no address", func(t *testing.T, m maker) (error, []string) {
			c := m.listen(t, "udp4", "")
			defer c.Close()
			_, err := c.WriteToUDPAddrPort([]byte("x"), netip.AddrPort{})
			return err, []string{c.LocalAddr().String()}
		}},
		{"4-in-6 address", func(t *testing.T, m maker) (error, []string) {
			c := m.dial(t, "udp4", "127.0.0.1:9")
			defer c.Close()
			_, err := c.WriteToUDPAddrPort([]byte("x"), netip.MustParseAddrPort("[::ffff:127.0.0.1]:9"))
			return err, []string{c.LocalAddr().String()}
		}},
		{"message to a 4-in-6 address", func(t *testing.T, m maker) (error, []string) {
			c := m.dial(t, "udp4", "127.0.0.1:9")
			defer c.Close()
			_, _, err := c.WriteMsgUDPAddrPort([]byte("x"), nil, netip.MustParseAddrPort("[::ffff:127.0.0.1]:9"))
			return err, []string{c.LocalAddr().String()}
		}},
		{"refused, read", func(t *testing.T, m maker) (error, []string) {
			nobody, _ := reserve(t)
			c := m.dial(t, "udp4", nobody)
			defer c.Close()
			_, err := c.Write([]byte("x"))
			require.NoError(t, err)
			require.NoError(t, c.SetReadDeadline(time.Now().Add(5*time.Second)))
			_, err = c.Read(make([]byte, 1))            // on the loopback interface it is there already
			if errors.Is(err, os.ErrDeadlineExceeded) { // on Windows, package net switches them off
				t.Skip("no ICMP errors here: ", err)
			}
			require.ErrorIs(t, err, syscall.ECONNREFUSED)
			return err, []string{c.LocalAddr().String(), c.RemoteAddr().String()}
		}},
		{"refused, write", func(t *testing.T, m maker) (error, []string) {
			nobody, _ := reserve(t)
			c := m.dial(t, "udp4", nobody)
			defer c.Close()
			_, err := c.Write([]byte("x"))
			require.NoError(t, err)
			_, err = c.Write([]byte("x"))
			if err == nil {
				t.Skip("no ICMP errors here")
			}
			require.ErrorIs(t, err, syscall.ECONNREFUSED)
			return err, []string{c.LocalAddr().String(), c.RemoteAddr().String()}
		}},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			describe := func(m maker) (text []string) {
				err, hide := test.do(t, m)
				require.Error(t, err)
				for {
					s := err.Error()
					for _, h := range hide {
						s = replaceAll(s, h, "ADDR")
					}
					text = append(text, s)
					if errors.Is(err, net.ErrClosed) && len(text) > 1 {
						return text
					}
					if err = errors.Unwrap(err); err == nil {
						return text
					}
				}
			}
			want := describe(makers[0])
			if strings.Contains(want[0], ": wsa") {
				t.Skip("package net names the calls of Windows")
			}
			require.Equal(t, want, describe(makers[1]))
			got := describe(makers[2])
			for i := range got { // its network is not known
				got[i] = replaceAll(got[i], " udp ", " udp4 ")
			}
			require.Equal(t, want, got)
		})
	}
}

func replaceAll(s, old, new string) string {
	for i := 0; i+len(old) <= len(s); i++ {
		if s[i:i+len(old)] == old {
			s = s[:i] + new + s[i+len(old):]
			i += len(new) - 1
		}
	}
	return s
}

// Empty datagrams, and addresses in net's form.
func TestPacketConnDatagrams(t *testing.T) {
	eachMaker(t, func(t *testing.T, m maker) {
		for _, network := range []string{"udp4", "udp6", "udp"} {
			t.Run(network, func(t *testing.T) {
				c := m.listen(t, network, ":0")
				defer c.Close()
				port := c.LocalAddr().(*net.UDPAddr).Port
				require.Equal(t, "udp", c.LocalAddr().Network())
				host, length := net.IPv4(127, 0, 0, 1).To4(), 4
				if network != "udp4" {
					length = 16
				}
				if network == "udp6" {
					host = net.IPv6loopback
				}
				peer := m.dial(t, network, (&net.UDPAddr{IP: host, Port: port}).String())
				defer peer.Close()
				require.Len(t, peer.RemoteAddr().(*net.UDPAddr).IP, len(host))
				require.Len(t, peer.LocalAddr().(*net.UDPAddr).IP, len(host))

				b := make([]byte, 100)
				for _, s := range []string{"", "hello", ""} {
					n, err := peer.Write([]byte(s))
					require.NoError(t, err)
					require.Equal(t, len(s), n)
					n, from, err := c.ReadFrom(b)
					require.NoError(t, err)
					require.Equal(t, s, string(b[:n]))
					require.Len(t, from.(*net.UDPAddr).IP, length)
					require.Equal(t, peer.LocalAddr().String(), from.String())
					n, err = c.WriteTo([]byte(s), from)
					require.NoError(t, err)
					require.Equal(t, len(s), n)
					n, err = peer.Read(b)
					require.NoError(t, err)
					require.Equal(t, len(s), n)
				}
				n, err := peer.Read(nil)
				require.NoError(t, err)
				require.Zero(t, n)
			})
		}
	})
}

// The unspecified address is this host.
func TestPacketConnWritesToThisHost(t *testing.T) {
	eachMaker(t, func(t *testing.T, m maker) {
		c := m.listen(t, "udp4", "127.0.0.1:0")
		defer c.Close()
		port := c.LocalAddr().(*net.UDPAddr).Port
		for _, ip := range []net.IP{nil, net.IPv4zero} {
			_, err := c.WriteTo([]byte("x"), &net.UDPAddr{IP: ip, Port: port})
			require.NoError(t, err)
			_, from, err := c.ReadFrom(make([]byte, 1))
			require.NoError(t, err)
			require.Equal(t, c.LocalAddr().String(), from.String())
		}
	})
}

// A datagram that is too long, and a zone that is no interface: docs/from-net.md.
func TestPacketConnDiffers(t *testing.T) {
	eachMaker(t, func(t *testing.T, m maker) {
		c := m.listen(t, "udp4", "127.0.0.1:0")
		defer c.Close()
		_, err := c.WriteTo(make([]byte, 65_508), c.LocalAddr())
		require.Error(t, err)
		if _, ok := c.(*udp.PacketConn); !ok {
			return
		}
		require.ErrorIs(t, err, syscall.EMSGSIZE) // on Windows too
		var size *udp.SizeError
		require.ErrorAs(t, err, &size)
		require.Equal(t, 65_507, size.Max)
		c6 := m.listen(t, "udp6", "[::1]:0")
		defer c6.Close()
		_, err = c6.WriteTo([]byte("x"), &net.UDPAddr{IP: net.ParseIP("fe80::1"), Port: 9, Zone: "no-interface"})
		require.ErrorContains(t, err, `no interface "no-interface"`)
	})
}

// The net.PacketConn of a Queue writes to this host, too.
func TestQueuePacketConnWritesToThisHost(t *testing.T) {
	for _, network := range []string{"udp4", "udp"} {
		q := udp.NewQueue(10, udp.DropNewest)
		c, err := udp.Listen(t.Context(), network, ":0", q)
		require.NoError(t, err)
		defer c.Close()
		p := q.PacketConn(c)
		_, err = p.WriteTo([]byte("x"), &net.UDPAddr{Port: int(c.LocalAddrPort().Port())})
		require.NoError(t, err)
		_, from, err := p.ReadFrom(make([]byte, 1))
		require.NoError(t, err)
		require.True(t, from.(*net.UDPAddr).IP.IsLoopback())
	}
}

// Readers, writers and Close at the same time; every reader ends.
func TestPacketConnConcurrently(t *testing.T) {
	eachMaker(t, func(t *testing.T, m maker) {
		c := m.listen(t, "udp4", "127.0.0.1:0")
		var reads atomic.Int64
		enough := make(chan struct{})
		var done sync.WaitGroup
		for range 4 {
			done.Go(func() {
				b := make([]byte, 100)
				for {
					if _, _, err := c.ReadFrom(b); err != nil {
						assert.ErrorIs(t, err, net.ErrClosed)
						return
					}
					if reads.Add(1) == 100 {
						close(enough)
					}
				}
			})
			done.Go(func() {
				for {
					if _, err := c.WriteTo([]byte("x"), c.LocalAddr()); err != nil {
						assert.ErrorIs(t, err, net.ErrClosed)
						return
					}
				}
			})
		}
		sockettest.Next(t, enough)
		require.NoError(t, c.Close())
		done.Wait()
		if pc, ok := c.(*udp.PacketConn); ok {
			s := pc.Stats()
			require.Equal(t, s.Received, s.Handled+s.Dropped.Total())
		}
	})
}

// A PacketConn that is forgotten is closed.
func TestPacketConnForgotten(t *testing.T) {
	c, err := udp.Config{}.ListenPacket(context.Background(), "udp4", "127.0.0.1:0")
	require.NoError(t, err)
	addr := c.LocalAddr()
	for range 3 {
		_, err = c.WriteTo([]byte("x"), addr)
		require.NoError(t, err)
	}
	_, _, err = c.ReadFrom(make([]byte, 10))
	require.NoError(t, err)
	collected := make(chan struct{})
	runtime.AddCleanup(c, func(done chan struct{}) { close(done) }, collected)
	c = nil
	for {
		runtime.GC()
		select {
		case <-collected:
		default:
			runtime.Gosched()
			continue
		}
		break
	}
	for { // the descriptor is closed by a finalizer that runs after that
		again, err := net.ListenPacket("udp4", addr.String())
		if err == nil {
			again.Close()
			return
		}
		require.ErrorIs(t, err, syscall.EADDRINUSE)
		runtime.GC()
		runtime.Gosched()
	}
}
