package main

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"
	"golang.zx2c4.com/wireguard/conn"

	"github.com/udpkit/udp"
)

// echoCallback is a plain handler that replies to each datagram.
func echoCallback(ctx context.Context, a args, ready func(int)) (result, error) {
	var r result
	return r.serve(ctx, a, ready, udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
		a.work(d.Data)
		r.Received++
		if d.Reply(d.Data) != nil {
			r.Errors++
		}
	}))
}

// echoWorkers has n Workers, each with the datagrams of some peers.
func echoWorkers(n int) program {
	return func(ctx context.Context, a args, ready func(int)) (result, error) {
		var received, refused atomic.Uint64
		var r result
		w, err := udp.NewWorkers(udp.WorkersConfig{N: n, Handler: udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
			a.work(d.Data)
			received.Add(1)
			if d.Reply(d.Data) != nil {
				refused.Add(1)
			}
		})})
		if err != nil {
			return r, err
		}
		r, err = r.serve(ctx, a, ready, w)
		r.Received, r.Errors = received.Load(), max(r.Errors, refused.Load())
		return r, err
	}
}

// serve runs a socket with h until ctx is done.
func (r *result) serve(ctx context.Context, a args, ready func(int), h udp.Handler) (result, error) {
	c, err := config(a).Listen(ctx, "udp4", localhost, h)
	if err != nil {
		return *r, err
	}
	ready(int(c.LocalAddrPort().Port()))
	<-ctx.Done()
	r.Coalesced = c.Info().GRO
	err = c.Shutdown(context.Background())
	r.sentBy(c)
	return *r, err
}

// echoQueue replies from a goroutine of its own, to one datagram at a time.
func echoQueue(ctx context.Context, a args, ready func(int)) (result, error) {
	q := udp.NewQueue(channel, udp.Block)
	c, err := config(a).Listen(ctx, "udp4", localhost, q)
	if err != nil {
		return result{}, err
	}
	r := result{Coalesced: c.Info().GRO}
	ready(int(c.LocalAddrPort().Port()))
	context.AfterFunc(ctx, func() { c.Shutdown(context.Background()) })
	consume(q, func(d udp.Datagram) {
		a.work(d.Data)
		r.forward(d.Reply(d.Data))
	})
	<-c.Done()
	r.sentBy(c)
	return r, nil
}

// work sleeps as long as a request takes, and writes the time of its end into the reply.
func (a args) work(b []byte) {
	if a.sleep == 0 {
		return
	}
	time.Sleep(time.Duration(a.sleep) * time.Millisecond)
	binary.LittleEndian.PutUint64(b[8:], uint64(time.Now().UnixNano()))
}

func echoNet(ctx context.Context, a args, ready func(int)) (result, error) {
	uc, port, err := listenNet(a)
	if err != nil {
		return result{}, err
	}
	defer uc.Close()
	b := make([]byte, 65536)
	unblock(ctx, uc)
	ready(port)
	var r result
	for {
		n, from, err := uc.ReadFromUDPAddrPort(b)
		if err != nil {
			return r, unlessDone(ctx, err)
		}
		a.work(b)
		_, err = uc.WriteToUDPAddrPort(b[:n], from)
		r.forward(err)
	}
}

func echoXNet(ctx context.Context, a args, ready func(int)) (result, error) {
	uc, port, err := listenNet(a)
	if err != nil {
		return result{}, err
	}
	defer uc.Close()
	return replyBatches(ctx, a, uc, ipv4.NewPacketConn(uc), func() { ready(port) })
}

// replyBatches reads batches from in and sends each back by out.
func replyBatches(ctx context.Context, a args, in *net.UDPConn, out *ipv4.PacketConn, ready func()) (result, error) {
	pc := ipv4.NewPacketConn(in)
	ms := newMessages(a.size + 1)
	unblock(ctx, in)
	ready()
	var r result
	for {
		for i := range ms {
			ms[i].Buffers[0] = ms[i].Buffers[0][:a.size+1]
		}
		n, err := pc.ReadBatch(ms, 0)
		if err != nil {
			return r, unlessDone(ctx, err)
		}
		r.Received += uint64(n)
		for i := range ms[:n] { // Addr is the sender, so the message goes back
			ms[i].Buffers[0] = ms[i].Buffers[0][:ms[i].N]
		}
		for done := 0; done < n; {
			k, err := out.WriteBatch(ms[done:n], 0)
			if err != nil {
				r.Errors++
				k = 1
			} else {
				r.Sent += uint64(k)
			}
			done += k
		}
	}
}

func echoWireGuard(ctx context.Context, _ args, ready func(int)) (result, error) {
	w, err := newWireGuard(ctx)
	if err != nil {
		return result{}, err
	}
	ready(w.port)
	replies := make([][]byte, 0, len(w.bufs))
	r := result{Coalesced: true}
	for {
		n, err := w.receive(w.bufs, w.sizes, w.from)
		if err != nil {
			return r, unlessDone(ctx, err)
		}
		r.Received += uint64(n)
		// One send is for one endpoint; its neighbours with the same go with it.
		for i := 0; i < n; {
			replies = replies[:0]
			first := i
			for ; i < n && w.peer(i) == w.peer(first); i++ {
				replies = append(replies, w.bufs[i][:w.sizes[i]])
			}
			if w.bind.Send(replies, w.from[first]) == nil {
				r.Sent += uint64(len(replies))
			} else {
				r.Errors += uint64(len(replies))
			}
		}
	}
}

func (w *wireguard) peer(i int) netip.AddrPort { return w.from[i].(*conn.StdNetEndpoint).AddrPort }
