package main

import (
	"context"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.zx2c4.com/wireguard/conn"

	"github.com/udpkit/udp"
)

// echoCallback is a plain handler that replies to each datagram.
func echoCallback(ctx context.Context, a args, ready func(int)) (result, error) {
	var received, refused uint64
	c, err := config(a).Listen(ctx, "udp4", localhost, udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
		received++
		if d.Reply(d.Data) != nil {
			refused++
		}
	}))
	if err != nil {
		return result{}, err
	}
	ready(int(c.LocalAddrPort().Port()))
	<-ctx.Done()
	trains := c.Info().GRO
	err = c.Shutdown(context.Background())
	s := c.Stats()
	return result{Received: received, Sent: s.Sent, Errors: max(s.SendErrors, refused), Trains: trains}, err
}

// echoQueue replies from a goroutine of its own, to one datagram at a time.
func echoQueue(ctx context.Context, a args, ready func(int)) (result, error) {
	q := udp.NewQueue(channel, udp.Block)
	c, err := config(a).Listen(ctx, "udp4", localhost, q)
	if err != nil {
		return result{}, err
	}
	trains := c.Info().GRO
	ready(int(c.LocalAddrPort().Port()))
	context.AfterFunc(ctx, func() { c.Shutdown(context.Background()) })
	r := result{Trains: trains}
	for d := range q.Datagrams() {
		r.Received++
		if d.Reply(d.Data) == nil {
			r.Sent++
		} else {
			r.Errors++
		}
		d.Release()
	}
	return r, nil
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
		r.Received++
		if _, err := uc.WriteToUDPAddrPort(b[:n], from); err == nil {
			r.Sent++
		} else {
			r.Errors++
		}
	}
}

func echoXNet(ctx context.Context, a args, ready func(int)) (result, error) {
	uc, port, err := listenNet(a)
	if err != nil {
		return result{}, err
	}
	defer uc.Close()
	pc := ipv4.NewPacketConn(uc)
	ms := newMessages(a.size + 1)
	unblock(ctx, uc)
	ready(port)
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
			k, err := pc.WriteBatch(ms[done:n], 0)
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
	r := result{Trains: true}
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
