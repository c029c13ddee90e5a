package udp_test

import (
	"context"
	"errors"
	"maps"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
)

// However much waits when a socket is closed, it is counted.
func TestCloseCountsALongQueue(t *testing.T) {
	const segment, n = 64, 300_000 / 64 * 64
	gate, in := make(chan struct{}), make(chan struct{}, segment)
	open := sync.OnceFunc(func() { close(gate) })
	var hold atomic.Bool
	c := sockettest.Listen(t, udp.Config{ReadBuffer: 32 << 20}, "udp4", udp.HandlerFunc(func(*udp.Conn, udp.Datagram) {
		if !hold.Load() {
			return
		}
		select {
		case in <- struct{}{}:
		default:
		}
		<-gate
	}))
	t.Cleanup(open)
	sender := sockettest.Dial(t, c.LocalAddrPort(), udp.BaseHandler{})
	if !c.Info().GRO || sender.Info().Segments < segment || c.Info().ReadBuffer < 32<<20 {
		t.Skip("no segments here, or no room for them")
	}
	if !sockettest.LoopbackCoalesces() {
		t.Skip("loopback cuts segmented sends here, and the datagrams need more room")
	}
	ms := make([]udp.Message, segment)
	for i := range ms {
		ms[i].Data = []byte("x")
	}
	send := func() {
		sent, err := sender.SendBatch(ms)
		require.NoError(t, err)
		require.Equal(t, segment, sent)
	}
	const first = 32 // sends, after which the socket asks for coalesced packets
	for i := range uint64(first) {
		send()
		for c.Stats().Handled < (i+1)*segment {
			runtime.Gosched()
		}
	}
	hold.Store(true)
	for range n / segment {
		send()
	}
	sockettest.Next(t, in)
	require.LessOrEqual(t, c.Stats().KernelDrops, int64(0)) // -1: unknown
	require.NoError(t, c.Close())
	open()
	sockettest.Next(t, c.Done())
	require.EqualValues(t, n+first*segment, c.Stats().Received)
	require.EqualValues(t, n-1, c.Stats().Dropped.Closed)
}

// A program may lock its sockets' filters. Then what arrives while a socket is
// being shut down can't be kept out, but Shutdown ends.
func TestShutdownEndsWhenTheFilterIsLocked(t *testing.T) {
	all := [1]unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff}}
	cfg := udp.Config{Control: func(_, _ string, rc syscall.RawConn) (err error) {
		rc.Control(func(fd uintptr) {
			err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &all[0]})
			if err == nil {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 1)
			}
		})
		return err
	}}
	// Each is answered with another one to the same socket, so there is always more.
	c := sockettest.Listen(t, cfg, "udp4", udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
		c.SendTo(d.Data, c.LocalAddrPort())
	}))
	flood := sockettest.ListenNet(t, "udp4")
	const sent = 200 // more than one read takes
	for range sent {
		_, err := flood.WriteToUDPAddrPort([]byte("x"), c.LocalAddrPort())
		require.NoError(t, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), sockettest.Patience)
	defer cancel()
	require.NoError(t, c.Shutdown(ctx))
	require.GreaterOrEqual(t, c.Stats().Handled, uint64(sent))
}

// sharedOptions are those that a socket may change and that other descriptors see.
var sharedOptions = []struct {
	name          string
	level, option int
}{
	{"SO_BROADCAST", unix.SOL_SOCKET, unix.SO_BROADCAST},
	{"SO_TIMESTAMPNS", unix.SOL_SOCKET, unix.SO_TIMESTAMPNS},
	{"SO_RXQ_OVFL", unix.SOL_SOCKET, unix.SO_RXQ_OVFL},
	{"IP_MULTICAST_ALL", unix.IPPROTO_IP, unix.IP_MULTICAST_ALL},
	{"IP_PKTINFO", unix.IPPROTO_IP, unix.IP_PKTINFO},
	{"IP_RECVTOS", unix.IPPROTO_IP, unix.IP_RECVTOS},
	{"IP_RECVTTL", unix.IPPROTO_IP, unix.IP_RECVTTL},
	{"IP_RECVERR", unix.IPPROTO_IP, unix.IP_RECVERR},
	{"IP_MTU_DISCOVER", unix.IPPROTO_IP, unix.IP_MTU_DISCOVER},
	{"IPV6_MULTICAST_ALL", unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL},
	{"IPV6_RECVPKTINFO", unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO},
	{"IPV6_RECVTCLASS", unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS},
	{"IPV6_RECVHOPLIMIT", unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT},
	{"IPV6_RECVERR", unix.IPPROTO_IPV6, unix.IPV6_RECVERR},
	{"IPV6_MTU_DISCOVER", unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER},
	{"UDP_GRO", unix.SOL_UDP, unix.UDP_GRO},
	{"UDP_SEGMENT", unix.SOL_UDP, unix.UDP_SEGMENT},
	{"UDP_CORK", unix.SOL_UDP, unix.UDP_CORK},
}

// optionsOf reads them all; -1 stands for one that the socket does not have.
func optionsOf(t testing.TB, s syscall.Conn) map[string]int {
	t.Helper()
	rc, err := s.SyscallConn()
	require.NoError(t, err)
	values := map[string]int{}
	require.NoError(t, rc.Control(func(fd uintptr) {
		for _, o := range sharedOptions {
			n, err := unix.GetsockoptInt(int(fd), o.level, o.option)
			if err != nil {
				n = -1
			}
			values[o.name] = n
		}
	}))
	return values
}

// withDetach are endings and Detach.
func withDetach() map[string]func(*testing.T, *udp.Conn) {
	all := maps.Clone(sockettest.Endings)
	all["Detach"] = func(t *testing.T, c *udp.Conn) {
		uc, err := c.Detach()
		require.NoError(t, err)
		require.NoError(t, uc.Close())
	}
	return all
}

// busyConfig asks for all that changes options, as far as it is there.
func busyConfig(t *testing.T) udp.Config {
	t.Helper()
	cfg := udp.Config{Timestamps: true, PeerErrors: true, MTUDiscovery: udp.MTUDiscoveryDo}
	c, err := cfg.Listen(t.Context(), "udp4", "127.0.0.1:0", udp.BaseHandler{})
	if errors.Is(err, errors.ErrUnsupported) {
		cfg.PeerErrors = false
		return cfg
	}
	require.NoError(t, err)
	require.NoError(t, c.Close())
	return cfg
}

// Whoever has another descriptor of a socket finds it as package net would have
// made it, and hears, after the socket was closed.
func TestClosingRestoresASocketThatWasDuplicated(t *testing.T) {
	for _, network := range sockettest.Networks(t) {
		for how, end := range withDetach() {
			for name, cfg := range map[string]udp.Config{"plain": {}, "busy": busyConfig(t)} {
				t.Run(network+" "+how+" "+name, func(t *testing.T) {
					fresh := optionsOf(t, sockettest.ListenNet(t, network))
					c := sockettest.Listen(t, cfg, network, udp.BaseHandler{})
					successor := sockettest.Duplicate(t, c)
					end(t, c)
					got := optionsOf(t, successor)
					if cfg.MTUDiscovery == udp.MTUDiscoveryDo { // the Config has said so
						for _, o := range []string{"IP_MTU_DISCOVER", "IPV6_MTU_DISCOVER"} {
							delete(got, o)
							delete(fresh, o)
						}
					}
					assert.Equal(t, fresh, got)
					_, err := sockettest.ListenNet(t, network).WriteToUDPAddrPort([]byte("hello successor"), c.LocalAddrPort())
					require.NoError(t, err)
					data, _ := sockettest.Read(t, successor)
					require.Equal(t, "hello successor", data)
				})
			}
		}
	}
}

// An adopted socket gets back what its owner has set, whatever that is.
func TestClosingRestoresAnAdoptedSocket(t *testing.T) {
	for _, network := range sockettest.Networks(t) {
		for how, end := range withDetach() {
			t.Run(network+" "+how, func(t *testing.T) {
				kept := sockettest.ListenNet(t, network)
				sockettest.SetOption(t, kept, unix.IPPROTO_IP, unix.IP_RECVTTL, 1)
				sockettest.SetOption(t, kept, unix.SOL_UDP, unix.UDP_SEGMENT, 1000)
				before := optionsOf(t, kept)
				c, err := busyConfig(t).Adopt(sockettest.Duplicate(t, kept), udp.BaseHandler{})
				require.NoError(t, err)
				require.NotEqual(t, before, optionsOf(t, kept))
				end(t, c)
				assert.Equal(t, before, optionsOf(t, kept))
				_, err = sockettest.ListenNet(t, network).WriteToUDPAddrPort([]byte("hello"), c.LocalAddrPort())
				require.NoError(t, err)
				sockettest.Read(t, kept)
			})
		}
	}
}

// What the user sets by way of SyscallConn is not this package's to restore, nor
// what Control has set.
func TestClosingKeepsWhatTheUserHasSet(t *testing.T) {
	cfg := udp.Config{Control: func(_, _ string, rc syscall.RawConn) (err error) {
		rc.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1) })
		return err
	}}
	c := sockettest.Listen(t, cfg, "udp4", udp.BaseHandler{})
	sockettest.SetOption(t, c, unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
	sockettest.SetOption(t, c, unix.IPPROTO_IP, unix.IP_RECVORIGDSTADDR, 1)
	successor := sockettest.Duplicate(t, c)
	sockettest.Stop(t, c)
	sockettest.Next(t, c.Done())
	got := optionsOf(t, successor)
	assert.Equal(t, 1, got["SO_RXQ_OVFL"], "Control")
	assert.Equal(t, 1, got["SO_BROADCAST"], "SyscallConn")
	assert.Equal(t, 1, got["IP_MULTICAST_ALL"], "the package")
}

// Close of an adopted socket leaves the filter of its owner where it is.
func TestAnAdoptedSocketKeepsItsFilter(t *testing.T) {
	for how, end := range withDetach() {
		t.Run(how, func(t *testing.T) {
			kept := sockettest.ListenNet(t, "udp4")
			rc, err := kept.SyscallConn()
			require.NoError(t, err)
			first := [...]unix.SockFilter{ // lets in what begins with 'y'
				{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 8},
				{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 'y', Jf: 1},
				{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
				{Code: unix.BPF_RET | unix.BPF_K, K: 0},
			}
			require.NoError(t, rc.Control(func(fd uintptr) {
				err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(first)), Filter: &first[0]})
			}))
			require.NoError(t, err)
			c, err := udp.Config{}.Adopt(sockettest.Duplicate(t, kept), udp.BaseHandler{})
			require.NoError(t, err)
			end(t, c)
			sender := sockettest.ListenNet(t, "udp4")
			for _, s := range []string{"no", "yes"} {
				_, err = sender.WriteToUDPAddrPort([]byte(s), c.LocalAddrPort())
				require.NoError(t, err)
			}
			data, _ := sockettest.Read(t, kept)
			require.Equal(t, "yes", data)
		})
	}
}

// Adopt makes of a socket what its Config says, whatever its owner has set.
func TestAdoptOverridesSegmentation(t *testing.T) {
	for name, cfg := range map[string]udp.Config{"offload": {}, "no offload": {NoOffload: true}} {
		t.Run(name, func(t *testing.T) {
			uc := sockettest.Unowned(t, "udp4")
			sockettest.SetOption(t, uc, unix.SOL_UDP, unix.UDP_GRO, 1)
			sockettest.SetOption(t, uc, unix.SOL_UDP, unix.UDP_SEGMENT, 4)
			sockettest.SetOption(t, uc, unix.SOL_UDP, unix.UDP_CORK, 1)
			h := sockettest.NewRecorder()
			c, err := cfg.Adopt(uc, h)
			require.NoError(t, err)
			sockettest.CloseAtEnd(t, c)
			h.Next(t, "Started")
			peer := sockettest.ListenNet(t, "udp4")
			require.NoError(t, c.SendTo([]byte("longer than four"), sockettest.AddrPort(peer)))
			data, _ := sockettest.Read(t, peer)
			require.Equal(t, "longer than four", data)
			require.Equal(t, !cfg.NoOffload && c.Info().GRO, c.Info().GRO)
			if cfg.NoOffload {
				require.Zero(t, optionsOf(t, c)["UDP_GRO"])
			}
		})
	}
}
