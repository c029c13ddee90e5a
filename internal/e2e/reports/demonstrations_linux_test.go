package reports

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// Six things that go wrong with net.UDPConn and a loop around it. Each test first shows
// the failure with package net, and then the same with package udp.

// A datagram is refused. The next one, sent when somebody listens again, fails with the
// error of the first.
func TestDemoRefusedThenSend(t *testing.T) {
	peer, revive := sockettest.HoldPort(t, "udp4")
	naive, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(peer))
	require.NoError(t, err)
	defer naive.Close()
	_, err = naive.Write([]byte("into the void"))
	require.NoError(t, err)
	revive()
	_, err = naive.Write([]byte("charged with it"))
	require.ErrorIs(t, err, syscall.ECONNREFUSED, "the naive send pays for an older one")

	peer, revive = sockettest.HoldPort(t, "udp4")
	q := udp.NewQueue(1, udp.Block)
	c := sockettest.Dial(t, peer, q)
	require.NoError(t, c.Send([]byte("into the void")))
	revived := revive()
	require.NoError(t, c.Send([]byte("arrives")))
	data, _ := sockettest.Read(t, revived)
	require.Equal(t, "arrives", data)
	require.ErrorIs(t, sockettest.Next(t, q.Refusals()), syscall.ECONNREFUSED)
}

// Two groups on one port: a socket that has joined one gets the other's too.
func TestDemoTwoGroupsOnOnePort(t *testing.T) {
	netns.Isolated(t, func() {
		ns := netns.Self(t)
		ns.IP("link set lo multicast on")
		ns.IP("route add 239.0.0.0/8 dev lo")
		lo := ns.Interface("lo")
		mine, theirs := netip.MustParseAddr("239.1.1.1"), netip.MustParseAddr("239.1.1.2")
		sender := sockettest.ListenNet(t, "udp4")

		naive, err := net.ListenUDP("udp4", &net.UDPAddr{})
		require.NoError(t, err)
		defer naive.Close()
		rc, err := naive.SyscallConn()
		require.NoError(t, err)
		join := func(group netip.Addr, rc syscall.RawConn) {
			var serr error
			require.NoError(t, rc.Control(func(fd uintptr) {
				serr = syscall.SetsockoptIPMreqn(int(fd), syscall.IPPROTO_IP, syscall.IP_ADD_MEMBERSHIP,
					&syscall.IPMreqn{Multiaddr: group.As4(), Ifindex: int32(lo.Index)})
			}))
			require.NoError(t, serr)
		}
		join(mine, rc)
		other := sockettest.ListenNet(t, "udp4")
		orc, err := other.SyscallConn()
		require.NoError(t, err)
		join(theirs, orc) // any program of this host can do that
		send := func(to netip.AddrPort) {
			_, err := sender.WriteToUDPAddrPort([]byte(to.Addr().String()), to)
			require.NoError(t, err)
		}
		send(netip.AddrPortFrom(theirs, sockettest.AddrPort(naive).Port()))
		require.NoError(t, naive.SetReadDeadline(time.Now().Add(sockettest.Patience)))
		data, _ := sockettest.Read(t, naive)
		require.Equal(t, theirs.String(), data, "the naive socket gets a group that it has not joined")

		q := udp.NewQueue(10, udp.Block)
		m, err := udp.ListenMulticast(context.Background(), "udp4", ":0", q)
		require.NoError(t, err)
		sockettest.CloseAtEnd(t, m)
		require.NoError(t, m.Join(mine, lo))
		port := m.LocalAddrPort().Port()
		send(netip.AddrPortFrom(theirs, port))
		send(netip.AddrPortFrom(mine, port))
		require.Equal(t, mine.String(), string(sockettest.Next(t, q.Datagrams()).Data))
	})
}

// A host with two addresses replies from the wrong one.
func TestDemoReplyFromTheAddressThatWasAsked(t *testing.T) {
	netns.Run(t, func() {
		here, there := netns.New(t), netns.New(t)
		netns.Veth(t, here, "left0", there, "right0")
		here.Addr("left0", "192.0.2.1/24")
		there.Addr("right0", "192.0.2.2/24")
		there.Addr("right0", "192.0.2.3/24") // the alias
		var naive, client *net.UDPConn
		var server *udp.Conn
		var err error
		there.Do(func() { naive, err = net.ListenUDP("udp4", nil) })
		require.NoError(t, err)
		defer naive.Close()
		here.Do(func() { client, err = net.ListenUDP("udp4", nil) })
		require.NoError(t, err)
		defer client.Close()
		require.NoError(t, client.SetReadDeadline(time.Now().Add(sockettest.Patience)))
		alias := netip.MustParseAddr("192.0.2.3")

		ask := func(port uint16) {
			_, err := client.WriteToUDPAddrPort([]byte("?"), netip.AddrPortFrom(alias, port))
			require.NoError(t, err)
		}
		ask(sockettest.AddrPort(naive).Port())
		_, from := sockettest.Read(t, naive)
		_, err = naive.WriteToUDPAddrPort([]byte("!"), from)
		require.NoError(t, err)
		_, from = sockettest.Read(t, client)
		require.Equal(t, "192.0.2.2", from.Addr().String(), "the naive answer comes from another address")

		there.Do(func() {
			server, err = udp.Listen(context.Background(), "udp4", ":0",
				udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { d.Reply([]byte("!")) }))
		})
		require.NoError(t, err)
		sockettest.CloseAtEnd(t, server)
		ask(server.LocalAddrPort().Port())
		_, from = sockettest.Read(t, client)
		require.Equal(t, alias, from.Addr())
	})
}

// A flood: the naive loop can't say how many datagrams it has lost.
func TestDemoFloodAccounting(t *testing.T) {
	const sent = 5000
	naive, sender := sockettest.ListenNet(t, "udp4"), sockettest.ListenNet(t, "udp4")
	require.NoError(t, naive.SetReadBuffer(4096))
	flood := func(to netip.AddrPort) {
		for range sent {
			_, err := sender.WriteToUDPAddrPort([]byte("x"), to)
			require.NoError(t, err)
		}
	}
	flood(sockettest.AddrPort(naive))
	got, b := 0, make([]byte, 10)
	// Everything has arrived, so the deadline ends the loop and cuts nothing off.
	for require.NoError(t, naive.SetReadDeadline(time.Now().Add(100*time.Millisecond))); ; got++ {
		if _, err := naive.Read(b); err != nil {
			break // nothing reports the loss
		}
	}
	require.Less(t, got, sent)

	gate := make(chan struct{})
	c := sockettest.Listen(t, udp.Config{ReadBuffer: 4096}, "udp4", udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { <-gate }))
	flood(c.LocalAddrPort())
	close(gate)
	require.NoError(t, c.Shutdown(t.Context()))
	s := c.Stats()
	require.Positive(t, s.KernelDrops)
	require.EqualValues(t, sent, s.Handled+s.Dropped.Total()+uint64(s.KernelDrops))
}

// naiveEcho is the loop that everybody writes first: it returns at any error. It waits for
// the gate before each reply.
func naiveEcho(uc *net.UDPConn, in chan<- string, gate <-chan struct{}) error {
	b := make([]byte, 100)
	for {
		n, from, err := uc.ReadFromUDPAddrPort(b)
		if err != nil {
			return err
		}
		in <- string(b[:n])
		<-gate
		if _, err := uc.WriteToUDPAddrPort(b[:n], from); err != nil {
			return err
		}
	}
}

// An interface goes down and up again. The naive server ends meanwhile, and nobody reads
// what arrives then.
func TestDemoInterfaceBounce(t *testing.T) {
	netns.Run(t, func() {
		here, there := netns.New(t), netns.New(t)
		netns.Veth(t, here, "left0", there, "right0")
		here.Addr("left0", "192.0.2.1/24")
		there.Addr("right0", "192.0.2.2/24")
		in, gate, ended := make(chan string, 10), make(chan struct{}), make(chan error, 1)
		replied := make(chan error, 10)
		var naive, client *net.UDPConn
		var c *udp.Conn
		var err error
		there.Do(func() { client, err = net.ListenUDP("udp4", nil) })
		require.NoError(t, err)
		defer client.Close()
		require.NoError(t, client.SetReadDeadline(time.Now().Add(sockettest.Patience)))
		here.Do(func() {
			naive, err = net.ListenUDP("udp4", nil)
			if err == nil {
				c, err = udp.Listen(context.Background(), "udp4", ":0", udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
					in <- string(d.Data)
					<-gate
					err := d.Reply(d.Data)
					if err == nil {
						err = c.Flush()
					}
					replied <- err
				}))
			}
		})
		require.NoError(t, err)
		defer naive.Close()
		sockettest.CloseAtEnd(t, c)
		go func() { ended <- naiveEcho(naive, in, gate) }()
		ask := func(what string) {
			for _, port := range []uint16{sockettest.AddrPort(naive).Port(), c.LocalAddrPort().Port()} {
				_, err := client.WriteToUDPAddrPort([]byte(what), netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port))
				require.NoError(t, err)
			}
		}

		ask("before")
		require.Equal(t, "before", sockettest.Next(t, in))
		require.Equal(t, "before", sockettest.Next(t, in))
		here.IP("link set left0 down")
		close(gate)
		require.ErrorIs(t, sockettest.Next(t, ended), syscall.ENETUNREACH, "the naive server ends here")
		require.ErrorIs(t, sockettest.Next(t, replied), syscall.ENETUNREACH)
		require.EqualValues(t, 1, c.Stats().SendFailed.Unreachable)

		here.IP("link set left0 up")
		here.AwaitRunning("left0")
		ask("after")
		data, from := sockettest.Read(t, client)
		require.Equal(t, "after", data)
		require.Equal(t, c.LocalAddrPort().Port(), from.Port(), "this one answers")
		require.NoError(t, sockettest.Next(t, replied))
		require.NoError(t, naive.SetReadDeadline(time.Now().Add(sockettest.Patience)))
		data, _ = sockettest.Read(t, naive)
		require.Equal(t, "after", data, "the other one has been asked, and nobody was there")
	})
}

// The naive way to stop is Close, which discards queued datagrams.
func TestDemoShutdownDrains(t *testing.T) {
	const sent = 100
	sender := sockettest.ListenNet(t, "udp4")
	send := func(to netip.AddrPort) {
		for range sent {
			_, err := sender.WriteToUDPAddrPort([]byte("x"), to)
			require.NoError(t, err)
		}
	}
	naive, in, gate := sockettest.ListenNet(t, "udp4"), make(chan string, sent), make(chan struct{})
	ended := make(chan error, 1)
	go func() { ended <- naiveEcho(naive, in, gate) }()
	send(sockettest.AddrPort(naive))
	sockettest.Next(t, in)
	require.NoError(t, naive.Close())
	close(gate)
	require.ErrorIs(t, sockettest.Next(t, ended), net.ErrClosed)
	naiveHandled := 1 + len(in) // the one in progress, and those after it
	require.Equal(t, 99, sent-naiveHandled, "are lost, and nothing reports it")

	var handled atomic.Int64
	began, release := make(chan struct{}, sent), make(chan struct{})
	c := sockettest.Listen(t, udp.Config{}, "udp4", udp.HandlerFunc(func(*udp.Conn, udp.Datagram) {
		began <- struct{}{}
		<-release
		handled.Add(1)
	}))
	send(c.LocalAddrPort())
	sockettest.Next(t, began)
	result := make(chan error)
	go func() { result <- c.Shutdown(context.Background()) }()
	close(release)
	require.NoError(t, sockettest.Next(t, result))
	require.Zero(t, sent-handled.Load(), "lost")
	require.Zero(t, c.Stats().KernelDrops)
}
