package main

import (
	"context"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/ipv4"
	"golang.zx2c4.com/wireguard/conn"

	"github.com/udpkit/udp"
)

// repeat sends batches of n payloads until the time is up. send returns how many the system
// accepted.
func repeat(ctx context.Context, a args, n int, payloads [][]byte, send func() (int, error)) (result, error) {
	var r result
	start := time.Now()
	until := start.Add(time.Duration((a.seconds + a.warm) * float64(time.Second)))
	end := start
	for round := 0; ctx.Err() == nil; round++ {
		if n > 1 || round&31 == 0 {
			if end = time.Now(); !end.Before(until) {
				break
			}
		}
		for i, b := range payloads {
			number(b, r.Sent+uint64(i))
		}
		k, err := send()
		r.Sent += uint64(k)
		if err != nil {
			if r.Errors++; r.Errors > 1000 {
				return r, err
			}
		}
	}
	r.Seconds = end.Sub(start).Seconds()
	return r, nil
}

func newPayloads(n, size int) [][]byte {
	bs := make([][]byte, n)
	for i := range bs {
		bs[i] = newPayload(size)
	}
	return bs
}

// took returns how many datagrams were accepted in a send of one.
func took(err error) (int, error) {
	if err != nil {
		return 0, err
	}
	return 1, nil
}

func sendTo(ctx context.Context, a args, _ func(int)) (result, error) {
	c, err := config(a).Listen(ctx, "udp4", localhost, udp.BaseHandler{})
	if err != nil {
		return result{}, err
	}
	defer c.Close()
	to, bs := loopback(a.port), newPayloads(1, a.size)
	return repeat(ctx, a, 1, bs, func() (int, error) { return took(c.SendTo(bs[0], to)) })
}

func sendConnected(ctx context.Context, a args, _ func(int)) (result, error) {
	c, err := config(a).Dial(ctx, "udp4", loopback(a.port).String(), udp.BaseHandler{})
	if err != nil {
		return result{}, err
	}
	defer c.Close()
	bs := newPayloads(1, a.size)
	return repeat(ctx, a, 1, bs, func() (int, error) { return took(c.Send(bs[0])) })
}

// batched sends as many datagrams at a time as a segmented send of the C reference has.
func batched(ctx context.Context, a args, c *udp.Conn, to netip.AddrPort, payloads func(n, size int) [][]byte) (result, error) {
	defer c.Close()
	bs := payloads(min(128, 65507/a.size), a.size)
	ms := make([]udp.Message, len(bs))
	for i := range ms {
		ms[i] = udp.Message{Data: bs[i], To: to}
	}
	return repeat(ctx, a, len(ms), bs, func() (int, error) { return c.SendBatch(ms) })
}

func sendBatch(ctx context.Context, a args, _ func(int)) (result, error) {
	c, err := config(a).Listen(ctx, "udp4", localhost, udp.BaseHandler{})
	if err != nil {
		return result{}, err
	}
	return batched(ctx, a, c, loopback(a.port), newPayloads)
}

func sendBatchConnected(ctx context.Context, a args, _ func(int)) (result, error) {
	c, err := config(a).Dial(ctx, "udp4", loopback(a.port).String(), udp.BaseHandler{})
	if err != nil {
		return result{}, err
	}
	return batched(ctx, a, c.Conn, netip.AddrPort{}, newPayloads)
}

func sendBatchFlat(ctx context.Context, a args, _ func(int)) (result, error) {
	c, err := config(a).Dial(ctx, "udp4", loopback(a.port).String(), udp.BaseHandler{})
	if err != nil {
		return result{}, err
	}
	return batched(ctx, a, c.Conn, netip.AddrPort{}, func(n, size int) [][]byte {
		all, bs := make([]byte, 0, n*size), make([][]byte, n)
		for i := range bs {
			all = append(all, newPayload(size)...)
			bs[i] = all[i*size:]
		}
		return bs
	})
}

func sendNet(ctx context.Context, a args, _ func(int)) (result, error) {
	uc, _, err := listenNet(a)
	if err != nil {
		return result{}, err
	}
	defer uc.Close()
	to, bs := loopback(a.port), newPayloads(1, a.size)
	return repeat(ctx, a, 1, bs, func() (int, error) {
		_, err := uc.WriteToUDPAddrPort(bs[0], to)
		return took(err)
	})
}

func sendXNet(ctx context.Context, a args, _ func(int)) (result, error) {
	uc, _, err := listenNet(a)
	if err != nil {
		return result{}, err
	}
	defer uc.Close()
	pc := ipv4.NewPacketConn(uc)
	to, bs := net.UDPAddrFromAddrPort(loopback(a.port)), newPayloads(xnetBatch, a.size)
	ms := make([]ipv4.Message, len(bs))
	for i := range ms {
		ms[i] = ipv4.Message{Buffers: bs[i : i+1], Addr: to}
	}
	return repeat(ctx, a, len(ms), bs, func() (int, error) { return pc.WriteBatch(ms, 0) })
}

func sendWireGuard(ctx context.Context, a args, _ func(int)) (result, error) {
	w, err := newWireGuard(ctx)
	if err != nil {
		return result{}, err
	}
	defer w.bind.Close()
	// It makes a segmented send by appending to the first buffer, if that has room.
	bs := newPayloads(w.bind.BatchSize(), a.size)
	for i, b := range bs {
		bs[i] = append(make([]byte, 0, 65535), b...)
	}
	to := &conn.StdNetEndpoint{AddrPort: loopback(a.port)}
	return repeat(ctx, a, len(bs), bs, func() (int, error) {
		if err := w.bind.Send(bs, to); err != nil {
			return 0, err
		}
		return len(bs), nil
	})
}
