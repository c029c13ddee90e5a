package main

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"

	"github.com/udpkit/udp"
)

const localhost = "127.0.0.1:0"

func config(a args) udp.Config {
	return udp.Config{ReadBuffer: a.buffer, WriteBuffer: a.buffer}
}

// receiveCallback is the plain handler of package udp.
func receiveCallback(ctx context.Context, a args, ready func(int)) (result, error) {
	ck := newCheck(a)
	c, err := config(a).Listen(ctx, "udp4", localhost, udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
		ck.one(d.Data)
	}))
	if err != nil {
		return result{}, err
	}
	ready(int(c.LocalAddrPort().Port()))
	<-ctx.Done()
	return sum(c.Info().GRO, ck), c.Shutdown(context.Background())
}

// receiveQueue has n goroutines that take datagrams out of one Queue, one at a
// time.
func receiveQueue(n int) program {
	return func(ctx context.Context, a args, ready func(int)) (result, error) {
		q := udp.NewQueue(channel, udp.Block)
		c, err := config(a).Listen(ctx, "udp4", localhost, q)
		if err != nil {
			return result{}, err
		}
		var wg sync.WaitGroup
		checks := make([]*check, n)
		for i := range checks {
			ck := newCheck(a)
			checks[i] = ck
			wg.Go(func() {
				consume(q, func(d udp.Datagram) { ck.one(d.Data) })
			})
		}
		coalesced := c.Info().GRO
		ready(int(c.LocalAddrPort().Port()))
		<-ctx.Done()
		err = c.Shutdown(context.Background())
		wg.Wait()
		return sum(coalesced, checks...), err
	}
}

// channel is the capacity of the channels, in the programs for package udp and for package net.
const channel = 1024

func listenNet(a args) (*net.UDPConn, int, error) {
	uc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, 0, err
	}
	if err := setBuffers(uc, a.buffer); err != nil {
		return nil, 0, err
	}
	return uc, uc.LocalAddr().(*net.UDPAddr).Port, nil
}

// setBuffers exceeds net.core.rmem_max if that is permitted, as package udp does.
func setBuffers(uc *net.UDPConn, n int) error {
	if err := uc.SetReadBuffer(n); err != nil {
		return err
	}
	if err := uc.SetWriteBuffer(n); err != nil {
		return err
	}
	rc, err := uc.SyscallConn()
	if err != nil {
		return err
	}
	return rc.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, n)
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, n)
	})
}

// unblock ends a blocked read when ctx is done.
func unblock(ctx context.Context, uc *net.UDPConn) {
	context.AfterFunc(ctx, func() { uc.SetReadDeadline(time.Unix(1, 0)) })
}

// unlessDone returns err, or nil once ctx is done.
func unlessDone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func receiveNet(ctx context.Context, a args, ready func(int)) (result, error) {
	uc, port, err := listenNet(a)
	if err != nil {
		return result{}, err
	}
	defer uc.Close()
	ck := newCheck(a)
	b := make([]byte, 65536)
	unblock(ctx, uc)
	ready(port)
	for {
		n, _, err := uc.ReadFromUDPAddrPort(b)
		if err != nil {
			return sum(false, ck), unlessDone(ctx, err)
		}
		ck.one(b[:n])
	}
}

// receiveNetChan passes datagrams to n other goroutines in the usual way: ReadFrom, a copy and a
// channel.
func receiveNetChan(n int) program {
	type packet struct {
		data []byte
		from net.Addr
	}
	return func(ctx context.Context, a args, ready func(int)) (result, error) {
		uc, port, err := listenNet(a)
		if err != nil {
			return result{}, err
		}
		defer uc.Close()
		var wg sync.WaitGroup
		packets := make(chan packet, channel)
		checks := make([]*check, n)
		for i := range checks {
			ck := newCheck(a)
			checks[i] = ck
			wg.Go(func() {
				for p := range packets {
					ck.one(p.data)
				}
			})
		}
		b := make([]byte, 65536)
		unblock(ctx, uc)
		ready(port)
		for {
			n, from, err := uc.ReadFrom(b)
			if err != nil && ctx.Err() != nil {
				break
			}
			if err != nil {
				return result{}, err
			}
			data := make([]byte, n)
			copy(data, b)
			packets <- packet{data, from}
		}
		close(packets)
		wg.Wait()
		return sum(false, checks...), nil
	}
}

// xnetBatch is the number of messages passed to ReadBatch and WriteBatch.
const xnetBatch = 64

func newMessages(size int) []ipv4.Message {
	ms := make([]ipv4.Message, xnetBatch)
	for i := range ms {
		ms[i].Buffers = [][]byte{make([]byte, size)}
	}
	return ms
}

func receiveXNet(ctx context.Context, a args, ready func(int)) (result, error) {
	uc, port, err := listenNet(a)
	if err != nil {
		return result{}, err
	}
	defer uc.Close()
	pc := ipv4.NewPacketConn(uc)
	ck := newCheck(a)
	ms := newMessages(a.size + 1)
	unblock(ctx, uc)
	ready(port)
	for {
		n, err := pc.ReadBatch(ms, 0)
		if err != nil {
			return sum(false, ck), unlessDone(ctx, err)
		}
		for i := range ms[:n] {
			ck.one(ms[i].Buffers[0][:ms[i].N])
		}
	}
}

// A wireguard is WireGuard's conn package with the buffers it wants.
type wireguard struct {
	bind    conn.Bind
	receive conn.ReceiveFunc
	port    int
	bufs    [][]byte
	sizes   []int
	from    []conn.Endpoint
}

func newWireGuard(ctx context.Context) (*wireguard, error) {
	w := &wireguard{bind: conn.NewStdNetBind()}
	fns, port, err := w.bind.Open(0)
	if err != nil {
		return nil, err
	}
	n := w.bind.BatchSize()
	w.receive, w.port = fns[0], int(port) // the first is IPv4's
	w.bufs, w.sizes, w.from = make([][]byte, n), make([]int, n), make([]conn.Endpoint, n)
	for i := range w.bufs {
		w.bufs[i] = make([]byte, 65535)
	}
	context.AfterFunc(ctx, func() { w.bind.Close() })
	return w, nil
}

func receiveWireGuard(ctx context.Context, a args, ready func(int)) (result, error) {
	w, err := newWireGuard(ctx)
	if err != nil {
		return result{}, err
	}
	ck := newCheck(a)
	ready(w.port)
	for {
		n, err := w.receive(w.bufs, w.sizes, w.from)
		if err != nil {
			return sum(true, ck), unlessDone(ctx, err)
		}
		for i := range n {
			ck.one(w.bufs[i][:w.sizes[i]])
		}
	}
}

func loopback(port int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port))
}
