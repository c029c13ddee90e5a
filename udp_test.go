package udp_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
)

func TestEcho(t *testing.T) {
	for _, network := range []string{"udp", "udp4"} {
		t.Run(network, func(t *testing.T) {
			ctx := context.Background()
			server, err := udp.Listen(ctx, network, "localhost:0", udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
				if err := d.Reply(d.Data); err != nil {
					t.Error(err)
				}
			}))
			require.NoError(t, err)
			defer sockettest.Stop(t, server)
			q := udp.NewQueue(10, udp.Block)
			client, err := udp.Dial(ctx, network, server.LocalAddrPort().String(), q)
			require.NoError(t, err)
			defer sockettest.Stop(t, client)
			require.NoError(t, client.Send([]byte("hello")))
			require.NoError(t, client.Send(nil))
			d := <-q.Datagrams()
			require.Equal(t, "hello", string(d.Data))
			d = <-q.Datagrams()
			require.Empty(t, d.Data)
			t.Log(d.From, d.To().Addr(), server.Info(), client.Stats())
		})
	}
}

func TestRefused(t *testing.T) {
	ctx := context.Background()
	dead := sockettest.DeadPort(t, "udp4")
	q := udp.NewQueue(10, udp.Block)
	client, err := udp.Dial(ctx, "udp", dead.String(), q)
	require.NoError(t, err)
	require.NoError(t, client.Send([]byte("one")))
	r := <-q.Refusals()
	t.Log(r)
	require.ErrorIs(t, r, udp.ErrRefused)
	require.Equal(t, dead, r.Peer)
	port := client.LocalAddrPort().Port()
	c, err := client.Disconnect()
	require.NoError(t, err)
	require.Equal(t, port, c.LocalAddrPort().Port())
	t.Log(c)
	sockettest.Stop(t, c)
}

// Started comes first, inside Listen; then datagrams; then Stopped, once, and Done
// is closed after it.
//
// Twisted: L1 L4 P1 S2 UDPTests.test_startStop
func TestCallbacksComeInOrder(t *testing.T) {
	h := sockettest.NewRecorder()
	h.OnStarted = func(c *udp.Conn) {
		// What arrives before Listen has returned waits for that.
		assert.NoError(t, c.SendTo([]byte("early"), c.LocalAddrPort()))
		assert.Equal(t, []string{"Started"}, h.Names(), "nothing is read in Started")
	}
	h.OnStopped = func(c *udp.Conn, _ error) {
		select {
		case <-c.Done():
			t.Error("done before Stopped has returned")
		default:
		}
	}

	c := sockettest.Listen(t, udp.Config{}, "udp4", h)
	require.Equal(t, "early", h.Next(t, "Received").Data)
	require.NoError(t, c.SendTo([]byte("late"), c.LocalAddrPort()))
	require.Equal(t, "late", h.Next(t, "Received").Data)

	sockettest.Stop(t, c)
	require.Equal(t, []string{"Stopped"}, h.Names())
	require.NoError(t, c.Close(), "again")
	require.NoError(t, c.Shutdown(t.Context()))
	require.Empty(t, h.Names())
	require.False(t, h.Overlap.Load())
}

// One Handler may serve several sockets, then at the same time.
//
// Twisted: P2
func TestOneHandlerOnSeveralSockets(t *testing.T) {
	h := sockettest.NewRecorder()
	const n = 3
	var meet sync.WaitGroup
	meet.Add(n)
	h.OnReceived = func(*udp.Conn, udp.Datagram) { meet.Done(); meet.Wait() } // all of them at once
	conns := map[*udp.Conn]bool{}
	for range n {
		c := sockettest.Listen(t, udp.Config{}, "udp4", h)
		require.Same(t, c, h.Next(t, "Started").Conn)
		conns[c] = true
	}
	for c := range conns {
		require.NoError(t, c.SendTo([]byte("x"), c.LocalAddrPort()))
	}
	got := map[*udp.Conn]bool{}
	for range n {
		got[h.Next(t, "Received").Conn] = true
	}
	require.Equal(t, conns, got)
	meet.Wait()
	for c := range conns {
		sockettest.Stop(t, c)
		require.Same(t, c, h.Next(t, "Stopped").Conn)
	}
}

// The same Handler may listen again once it has stopped, also on the same port.
//
// Twisted: L6 UDPTests.test_rebind
func TestHandlerListensAgain(t *testing.T) {
	h := sockettest.NewRecorder()
	c := sockettest.Listen(t, udp.Config{}, "udp4", h)
	at := c.LocalAddrPort()
	sockettest.Stop(t, c)
	again, err := udp.Listen(t.Context(), "udp4", at.String(), h)
	require.NoError(t, err)
	sockettest.CloseAtEnd(t, again)
	require.Equal(t, at, again.LocalAddrPort())
	sockettest.Stop(t, again)
	require.Equal(t, []string{"Started", "Stopped", "Started", "Stopped"}, h.Names())
}

// Shutdown handles what the kernel has queued, then stops.
//
// Twisted: V1 ReactorShutdownInteractionTests.testShutdownFromDatagramReceived
func TestShutdownHandlesWhatIsQueued(t *testing.T) {
	const n = 200
	for _, from := range []string{"outside", "Received"} {
		t.Run(from, func(t *testing.T) {
			h := sockettest.NewRecorder()
			first := make(chan struct{})
			h.OnReceived = func(c *udp.Conn, d udp.Datagram) {
				if string(d.Data) == "first" {
					<-first
					if from == "Received" {
						go c.Shutdown(t.Context())
					}
				}
			}
			c := sockettest.Listen(t, udp.Config{}, "udp4", h)
			h.Next(t, "Started")
			require.NoError(t, c.SendTo([]byte("first"), c.LocalAddrPort()))
			h.Next(t, "Received")
			for range n {
				require.NoError(t, c.SendTo([]byte("x"), c.LocalAddrPort()))
			}
			if from == "outside" {
				go c.Shutdown(t.Context())
			}
			close(first)
			sockettest.Next(t, c.Done())
			s := c.Stats()
			require.LessOrEqual(t, s.KernelDrops, int64(0), "the buffer has room for %d", n)
			require.EqualValues(t, n+1, s.Handled)
			names := h.Names()
			require.Len(t, names, n+1)
			require.Equal(t, "Stopped", names[n])
		})
	}
}

// A Shutdown whose context ends closes the socket without waiting, and says so.
func TestShutdownThatCanNotFinish(t *testing.T) {
	h := sockettest.NewRecorder()
	release := make(chan struct{})
	h.OnReceived = func(*udp.Conn, udp.Datagram) { <-release }
	c := sockettest.Listen(t, udp.Config{}, "udp4", h)
	h.Next(t, "Started")
	require.NoError(t, c.SendTo([]byte("x"), c.LocalAddrPort()))
	h.Next(t, "Received")

	err := c.Shutdown(sockettest.Canceled())
	sockettest.RequireOpError(t, err, "shutdown")
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, c.SendTo(nil, c.LocalAddrPort()), net.ErrClosed)
	close(release)
	sockettest.Next(t, c.Done())
	require.NoError(t, h.Next(t, "Stopped").Err)
	require.NoError(t, c.Shutdown(sockettest.Canceled()), "what has stopped is shut down")
}

// String names the socket by its address, peer and state.
//
// Twisted: L4 L7 UDPTests.test_oldAddress UDPPortTestsMixin.test_getHost
// UDPPortTestsMixin.test_str UDPPortTestsMixin.test_repr
func TestString(t *testing.T) {
	c := sockettest.Listen(t, udp.Config{}, "udp4", udp.BaseHandler{})
	local := c.LocalAddrPort().String()
	require.Equal(t, "udp4 "+local, c.String())
	peer := sockettest.ListenNet(t, "udp4")
	_, err := c.Connect(sockettest.AddrPort(peer))
	require.NoError(t, err)
	require.Equal(t, "udp4 "+local+" to "+sockettest.AddrPort(peer).String(), c.String())
	sockettest.Stop(t, c)
	require.True(t, strings.HasSuffix(c.String(), "(closed)"))
	require.Contains(t, c.String(), local, "also when it is closed")
	require.Equal(t, local, c.LocalAddr().String())
}

// A callback that panics, or ends its goroutine as t.FailNow does, costs its own
// datagram at most, and never a socket or a goroutine.
//
// Twisted: P6 UDPTests.test_datagramReceivedError
func TestPanics(t *testing.T) {
	var log bytes.Buffer
	h := sockettest.NewRecorder()
	blow := func(where string) { panic("in " + where) }
	h.OnStarted = func(*udp.Conn) { blow("Started") }
	h.OnReceived = func(_ *udp.Conn, d udp.Datagram) {
		if len(d.Data) == 0 {
			blow("Received")
		}
	}
	h.OnRefused = func(*udp.Conn, *udp.Refusal) { blow("Refused") }
	h.OnStopped = func(*udp.Conn, error) { blow("Stopped") }
	c, err := udp.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}.Dial(t.Context(), "udp4", sockettest.DeadPort(t, "udp4").String(), h)
	require.NoError(t, err)
	sockettest.CloseAtEnd(t, c)
	h.Next(t, "Started")

	require.NoError(t, c.Send(nil))
	h.Next(t, "Refused")
	peer := sockettest.ListenNet(t, "udp4")
	require.NoError(t, c.Reconnect(sockettest.AddrPort(peer)))
	for _, data := range []string{"a", "", "b", "", "c"} {
		_, err := peer.WriteToUDPAddrPort([]byte(data), c.LocalAddrPort())
		require.NoError(t, err)
	}
	for _, data := range []string{"a", "", "b", "", "c"} {
		require.Equal(t, data, h.Next(t, "Received").Data)
	}
	sockettest.Stop(t, c)
	require.NoError(t, h.Next(t, "Stopped").Err)

	s := c.Stats()
	require.EqualValues(t, 5, s.Received)
	require.EqualValues(t, 3, s.Handled)
	require.EqualValues(t, 2, s.Dropped.Panicked)
	require.EqualValues(t, 5, s.Panics)
	for _, where := range []string{"Started", "Received", "Refused", "Stopped"} {
		require.Contains(t, log.String(), "in "+where)
	}
	require.Contains(t, log.String(), "udp_test.go", "the stack is in the log")
}

// Twisted: P6
func TestGoexit(t *testing.T) {
	for _, callback := range []string{"Started", "Received", "Refused", "Stopped"} {
		t.Run(callback, func(t *testing.T) {
			h := sockettest.NewRecorder()
			conns := make(chan *udp.Conn, 1)
			h.OnStarted = func(c *udp.Conn) {
				conns <- c
				if callback == "Started" {
					runtime.Goexit()
				}
			}
			h.OnReceived = func(*udp.Conn, udp.Datagram) { runtime.Goexit() }
			h.OnRefused = func(*udp.Conn, *udp.Refusal) { runtime.Goexit() }
			h.OnStopped = func(*udp.Conn, error) {
				if callback == "Stopped" {
					runtime.Goexit()
				}
			}
			peer := sockettest.ListenNet(t, "udp4")
			to := sockettest.AddrPort(peer)
			if callback == "Refused" {
				to = sockettest.DeadPort(t, "udp4")
			}
			go udp.Dial(context.Background(), "udp4", to.String(), h)
			c := sockettest.Next(t, conns)
			h.Next(t, "Started")
			switch callback {
			case "Received":
				for range 3 {
					_, err := peer.WriteToUDPAddrPort([]byte("x"), c.LocalAddrPort())
					require.NoError(t, err)
				}
				h.Next(t, "Received")
			case "Refused":
				require.NoError(t, c.SendTo([]byte("x"), to))
				h.Next(t, "Refused")
			case "Stopped":
				sockettest.Stop(t, c)
			}
			sockettest.Next(t, c.Done())
			err := h.Next(t, "Stopped").Err
			if callback == "Stopped" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, "Goexit")
				sockettest.RequireOpError(t, err, "read")
			}
			require.Empty(t, h.Names())
			sockettest.Stop(t, c)
			sockettest.CountersAgree(t, c.Stats())
			require.ErrorIs(t, c.SendTo([]byte("x"), to), net.ErrClosed)
		})
	}
}
